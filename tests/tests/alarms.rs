//! Lag and alarms that reach people: a lane that hangs shows it, is told once to everybody, and once that it goes on.
//!
//! Not here: what is an alarm (`host/src/alarm`), whether the stand-ins are real (`emulators`).

use aws_sdk_cloudwatch::types::{ComparisonOperator, Datapoint, Dimension, StateValue, Statistic};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, StreamStatus};
use plimsoll_tests::aws::{self, Retries};
use plimsoll_tests::hook::Hook;
use plimsoll_tests::place::{GOOD, LIMIT, Place, exit};
use plimsoll_tests::process::{Host, Running, Stop};
use plimsoll_tests::proxy::{Fault, Proxy, Rule};
use plimsoll_tests::server::{Cloud, Dynamo, Kinesis};
use serde_json::Value;
use std::time::{Duration, Instant, SystemTime};

const POLL: Duration = Duration::from_millis(20);
/// A request that hangs is given up after 20 s; then the store is asked again.
const PATIENT: Duration = Duration::from_secs(120);
const SECRET: &str = "T000-B000-verysecret";

async fn put(client: &aws_sdk_kinesis::Client, stream: &str, count: usize) {
    let entry =
        |at: usize| PutRecordsRequestEntry::builder().data(Blob::new(GOOD)).partition_key(at.to_string()).build();
    let entries = (0..count).map(|at| entry(at).expect("data and key are there")).collect();
    let answer = client.put_records().stream_name(stream).set_records(Some(entries)).send().await;
    assert_eq!(answer.expect("records are put").failed_record_count(), Some(0));
}

/// A stream of one shard with a hundred records.
async fn stream(client: &aws_sdk_kinesis::Client) -> String {
    let name = format!("alarms-{:016x}", rand::random::<u64>());
    client.create_stream().stream_name(&name).shard_count(1).send().await.expect("a stream is made");
    loop {
        let summary = client.describe_stream_summary().stream_name(&name).send().await.expect("it is described");
        if summary.stream_description_summary().expect("a summary").stream_status() == &StreamStatus::Active {
            put(client, &name, 100).await;
            return name;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// A topic that posts to a hook's `/sns`.
async fn topic(client: &aws_sdk_sns::Client, hook: &Hook) -> String {
    let arn = client.create_topic().name("plimsoll-alarms").send().await.expect("a topic").topic_arn.expect("an ARN");
    let subscribing = client.subscribe().topic_arn(&arn).protocol("http").endpoint(hook.url("/sns"));
    subscribing.send().await.expect("a subscription");
    let confirmation = |post: &Value| (post["Type"] == "SubscriptionConfirmation").then(|| post["Token"].clone());
    let token = hook.until("/sns", LIMIT, confirmation).await;
    let token = token.as_str().expect("a token");
    client.confirm_subscription().topic_arn(&arn).token(token).send().await.expect("it is confirmed");
    arn
}

/// The lines written so far; the last one may be half written.
fn figures(place: &Place) -> Vec<Value> {
    let lines = std::fs::read_to_string(place.path("figures.emf")).unwrap_or_default();
    lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// A figure of the lines written last, of a lane or of all together.
fn figure(place: &Place, name: &str, of_lane: bool) -> Option<u64> {
    figures(place).iter().rfind(|line| line.get("Lane").is_some() == of_lane)?[name].as_u64()
}

/// Records counted in all periods so far.
fn counted(place: &Place) -> u64 {
    figures(place).iter().filter_map(|line| line["Counted"].as_u64()).sum()
}

/// The kinds of messages of an alarm of one lane that a webhook got, in order.
fn kinds(hook: &Hook, path: &str, alarm: &str) -> Vec<String> {
    let of = |post: &Value| (post["alarm"] == alarm).then(|| post["kind"].as_str().expect("a kind").to_owned());
    hook.posted(path).iter().filter_map(of).collect()
}

/// A message of the commit lag's alarm.
fn spoken(kind: &'static str) -> impl Fn(&Value) -> Option<Value> {
    move |post| (post["alarm"] == "commit-lag" && post["kind"] == kind).then(|| post.clone())
}

async fn in_alarm(client: &aws_sdk_cloudwatch::Client, name: &str) {
    let start = Instant::now();
    loop {
        let answer = client.describe_alarms().alarm_names(name).send().await.expect("alarms are described");
        if answer.metric_alarms()[0].state_value() == Some(&StateValue::Alarm) {
            return;
        }
        assert!(start.elapsed() < PATIENT, "CloudWatch sees no alarm: {answer:?}");
        tokio::time::sleep(POLL).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_answers_nothing_is_told_once_to_everybody_and_so_is_its_end() {
    let place = Place::new();
    let hook = Hook::start().await.expect("a hook");
    let (kinesis, dynamo, cloud) = (Kinesis::start(), Dynamo::start(), Cloud::start());
    let (kinesis, dynamo, cloud) = (kinesis.expect("a Kinesis"), dynamo.expect("a DynamoDB"), cloud.expect("a cloud"));
    let (records, sns) = (aws::kinesis(kinesis.url(), Retries::Sdk).await, aws::sns(&cloud.url(), Retries::Sdk).await);
    let cloudwatch = aws::cloudwatch(&cloud.url(), Retries::Sdk).await;
    let (stream, topic) = (stream(&records).await, topic(&sns, &hook).await);
    let tables = place.command(&format!("tables create --dynamodb {stream}")).aws(kinesis.url(), dynamo.url());
    tables.run(LIMIT).expect("it ends").expect(0).expect("tables are made");

    let alarm = cloudwatch.put_metric_alarm().alarm_name("behind").namespace("Plimsoll/Test").metric_name("CommitLag");
    let alarm = alarm.statistic(Statistic::Maximum).period(1).evaluation_periods(5).threshold(3_000.0);
    let alarm = alarm.comparison_operator(ComparisonOperator::GreaterThanOrEqualToThreshold).alarm_actions(&topic);
    let dimension = |name: &str, value: &str| Dimension::builder().name(name).value(value).build();
    alarm.dimensions(dimension("Policy", "impressions")).send().await.expect("CloudWatch watches");

    place.write(
        "plimsoll.toml",
        format!(
            "[[alarm]]\nlag = \"commit\"\nat_least = \"3s\"\npoints = 3\nof = 5\nevery = \"200ms\"\n\
             [metrics]\ncloudwatch = {{ namespace = \"Plimsoll/Test\", every = \"200ms\" }}\n\
             emf = {{ to = \"figures.emf\", every = \"100ms\" }}\n\
             [notify]\nsns = \"{topic}\"\nslack = {{ env = \"SLACK_URL\" }}\nwebhook = [\"{}\", \"{}\", \"{}\"]\n",
            hook.url("/hanging"),
            hook.url("/failing"),
            hook.url("/webhook")
        ),
    );
    // A proxy cannot stand before an address with TLS.
    let proxy = Proxy::start(dynamo.url(), 1, vec![]).expect("a DynamoDB on this machine");
    let run = format!("run --policy policy.toml --kinesis {stream} --dynamodb {stream} --config plimsoll.toml");
    let host = place.command(&run).aws(kinesis.url(), &proxy.url());
    let host = host.env("AWS_ENDPOINT_URL_CLOUDWATCH", cloud.url()).env("AWS_ENDPOINT_URL_SNS", cloud.url());
    let mut host = host.env("SLACK_URL", hook.url(&format!("/slack/{SECRET}"))).spawn().expect("the host starts");

    let at_tip = |_: &Running| (counted(&place) == 100 && figure(&place, "CommitLag", true)? < 3_000).then_some(());
    host.until("a lane without lag", LIMIT, at_tip).expect("it counts");
    proxy.set_rules(1, vec![Rule::all(Fault::Delay(Duration::from_secs(600)), 1)]);
    let since = SystemTime::now();
    put(&records, &stream, 100).await;

    let opened = hook.until("/webhook", PATIENT, spoken("opened")).await;
    assert!(opened["lane"].as_str().is_some_and(|lane| lane == format!("{stream}/0")), "{opened}");
    assert!(opened["position"].is_string() && opened["condition"] == "commit lag >= 3s", "{opened}");
    assert!(opened["to_do"].as_str().is_some_and(|text| text.contains("nothing is lost")), "{opened}");
    let text = |post: &Value| post["text"].as_str().filter(|t| t.contains("opened: commit-lag")).map(str::to_owned);
    let slack = hook.until(&format!("/slack/{SECRET}"), PATIENT, text).await;
    assert!(
        slack.starts_with(":red_circle: *[Plimsoll] opened: commit-lag of lane ") && slack.contains("```found"),
        "{slack}"
    );
    let subject = |kind: &'static str| {
        move |post: &Value| {
            let subject = post["Subject"].as_str().unwrap_or_default();
            subject.starts_with(&format!("[Plimsoll] {kind}: commit-lag")).then(|| post.clone())
        }
    };
    let by_topic = hook.until("/sns", PATIENT, subject("opened")).await;
    assert!(by_topic["Message"].as_str().is_some_and(|m| m.contains("expected  not: commit lag >= 3s")), "{by_topic}");

    // CloudWatch has the figures, sees the same, and says it by the same topic.
    in_alarm(&cloudwatch, "behind").await;
    let of_cloudwatch = |post: &Value| {
        let message: Value = serde_json::from_str(post["Message"].as_str()?).ok()?;
        (message["AlarmName"] == "behind" && message["NewStateValue"] == "ALARM").then_some(())
    };
    hook.until("/sns", PATIENT, of_cloudwatch).await;
    let lane = opened["lane"].as_str().expect("a lane").to_owned();
    let figures = cloudwatch.get_metric_statistics().namespace("Plimsoll/Test").metric_name("CommitLag").period(1);
    let figures = figures.dimensions(dimension("Policy", "impressions")).dimensions(dimension("Lane", &lane));
    let figures = figures.start_time(since.into()).end_time((since + PATIENT).into()).statistics(Statistic::Maximum);
    let figures = figures.send().await.expect("figures of the lane");
    let most = figures.datapoints().iter().filter_map(|point| point.maximum()).fold(0.0, f64::max);
    assert!(most >= 3_000.0, "the lane's commit lag was {most} ms at most");

    // It grows while nobody says anything.
    let now = figure(&place, "CommitLag", true).expect("a lag");
    host.until("a lag that grows", LIMIT, |_| figure(&place, "CommitLag", true).filter(|ms| *ms >= now + 1_000))
        .expect("it grows");
    assert!(figure(&place, "CommitLag", false) >= Some(now), "and so does that of the policy");
    assert_eq!(kinds(&hook, "/webhook", "commit-lag"), ["opened"]);

    proxy.set_rules(1, vec![]);
    hook.until("/webhook", PATIENT, spoken("recovered")).await;
    hook.until("/sns", PATIENT, subject("recovered")).await;
    host.ask_to_stop(Stop::Terminate).expect("it is there");
    let ended = host.wait(LIMIT).expect("channels that fail and hang hold nobody up").expect(0).expect("it ends well");
    assert_eq!(kinds(&hook, "/webhook", "commit-lag"), ["opened", "recovered"], "one of each");
    let failing = hook.posted("/failing");
    assert!(
        failing.len() > 2 && failing.iter().all(|post| post["id"] == opened["id"]),
        "tried again, in order: {failing:?}"
    );
    assert_eq!(
        kinds(&hook, "/hanging", "commit-lag"),
        ["opened"; 1].repeat(kinds(&hook, "/hanging", "commit-lag").len())
    );
    assert!(ended.stderr.contains("alarm opened") && ended.stderr.contains("alarm recovered"), "{}", ended.stderr);
    assert!(!ended.stderr.contains(SECRET), "the address of a webhook is a secret:\n{}", ended.stderr);
    let rows = place.command(&format!("rows --policy policy.toml --dynamodb {stream}"));
    let rows = rows.aws(kinesis.url(), dynamo.url()).run(LIMIT).expect("it ends").expect(0).expect("rows");
    assert!(rows.text().expect("text").contains("\"events\":200"), "{rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_pauses_is_told_before_the_run_ends() {
    let place = Place::new();
    let hook = Hook::start().await.expect("a hook");
    place.write("bad.ndjson", "{\"temperature\":1}\n".repeat(60));
    let config = format!(
        "[[alarm]]\nstate = \"paused\"\npoints = 3\nof = 5\nevery = \"1d\"\n[[alarm]]\npoison = 1\n[notify]\nwebhook = \"{}\"\n",
        hook.url("/webhook")
    );
    place.write("plimsoll.toml", config);
    let run = "run --policy policy.toml --input bad.ndjson --sqlite counts.db --config plimsoll.toml";
    let ended = place.host(run).expect(exit::LANE).expect("most of the batch is rejected");
    for alarm in ["paused", "poison"] {
        assert_eq!(kinds(&hook, "/webhook", alarm), ["opened"], "{}", ended.stderr);
    }
    let paused = &hook.posted("/webhook")[0];
    let reason = paused["reason"].as_str().expect("a reason");
    assert!(reason.contains("60 of 60 records") && reason.contains("--accept-poison"), "{reason}");

    // And of a run that has no lane yet, that it has failed.
    place.write("plimsoll.toml", format!("[notify]\nwebhook = \"{}\"\n", hook.url("/early")));
    let run = "run --policy policy.toml --generate devices=3,records=5 --dynamodb nowhere --config plimsoll.toml";
    let ended = place.command(run).aws("http://127.0.0.1:9", Dynamo::start().expect("a DynamoDB").url());
    ended.run(LIMIT).expect("it ends").expect(exit::STORE).expect("there are no tables");
    let early = hook.posted("/early");
    assert!(early.iter().all(|post| post["lane"] == "(host)" && post["alarm"] == "halted"), "{early:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_that_cloudwatch_did_not_take_come_later_with_their_own_times() {
    let place = Place::new();
    let cloud = Cloud::start().expect("a cloud");
    let cloudwatch = aws::cloudwatch(&cloud.url(), Retries::Sdk).await;
    let proxy = Proxy::start(&cloud.url(), 1, vec![Rule::all(Fault::LoseRequest, 1)]).expect("a proxy");
    place.write("plimsoll.toml", "[metrics]\ncloudwatch = { namespace = \"Plimsoll/Late\", every = \"100ms\" }\n");
    let run = "run --policy policy.toml --input good.ndjson --follow --sqlite counts.db --config plimsoll.toml";
    let host = place.command(run).aws("http://127.0.0.1:9", "http://127.0.0.1:9");
    let mut host = host.env("AWS_ENDPOINT_URL_CLOUDWATCH", proxy.url()).spawn().expect("the host starts");
    // The client may try a connection that was closed once more by itself: two requests, one call.
    let lost = |_: &Running| (proxy.fired_times(Fault::LoseRequest) >= 40).then_some(());
    host.until("twenty calls that get lost", LIMIT, lost).expect("it goes on trying");
    let cleared = SystemTime::now();
    proxy.set_rules(1, vec![]);
    let again = |host: &Running| host.stderr().contains("figures are given out again").then_some(());
    host.until("figures again", LIMIT, again).expect("it says so");
    host.ask_to_stop(Stop::Terminate).expect("it is there");
    let ended = host.wait(LIMIT).expect("it ends").expect(0).expect("it ends well");
    assert_eq!(ended.stderr.matches("figures cannot be given out").count(), 1, "said once:\n{}", ended.stderr);

    let figures = cloudwatch.get_metric_statistics().namespace("Plimsoll/Late").metric_name("Counted").period(1);
    let figures = figures.dimensions(Dimension::builder().name("Policy").value("impressions").build());
    let figures = figures.start_time((cleared - PATIENT).into()).end_time((cleared + PATIENT).into());
    let figures = figures.statistics(Statistic::Sum).statistics(Statistic::SampleCount).send().await.expect("figures");
    let total = |of: fn(&Datapoint) -> Option<f64>| figures.datapoints().iter().filter_map(of).sum::<f64>();
    assert_eq!(total(Datapoint::sum), 3.0, "no record is forgotten or told twice: {figures:?}");
    assert!(total(Datapoint::sample_count) >= 20.0, "each period has its figure: {figures:?}");
    assert!(figures.datapoints().len() > 1, "at its own time: {figures:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_are_tried_before_they_are_needed() {
    let place = Place::new();
    let hook = Hook::start().await.expect("a hook");
    let (good, bad) = (hook.url("/good"), hook.url("/failing"));
    place.write("good.toml", format!("[notify]\nslack = \"{good}\"\nwebhook = \"{good}\"\n"));
    let tried = place.host("alarms test --config good.toml").expect(0).expect("both take it");
    let answer = "delivered  slack http://127.0.0.1/...: answered 200 ok\ndelivered  webhook http://127.0.0.1/...: answered 200 ok\n";
    assert_eq!(tried.text().expect("text"), answer);
    let posted = hook.posted("/good");
    assert!(posted.iter().any(|post| post["kind"] == "test"), "{posted:?}");
    assert!(
        posted.iter().any(|post| post["text"].as_str().is_some_and(|t| t.contains("this is no alarm"))),
        "{posted:?}"
    );

    place.write("both.toml", format!("[notify]\nslack = \"{bad}\"\nwebhook = \"{good}\"\n"));
    let tried = place.host("alarms test --config both.toml --json").expect(exit::RUN).expect("one does not take it");
    let lines: Vec<Value> =
        tried.text().expect("text").lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert_eq!((&lines[0]["delivered"], &lines[1]["delivered"]), (&false.into(), &true.into()));
    assert!(lines[0]["answer"].as_str().is_some_and(|text| text.contains("answered 500 not now")), "{lines:?}");
    assert!(tried.stderr.contains("1 of 2 channels"), "{}", tried.stderr);

    place.write("sns.toml", "[notify]\nsns = \"arn:aws:sns:eu-west-1:123456789012:nowhere\"\n");
    let cloud = Cloud::start().expect("an SNS");
    let tried = Host::new(["alarms", "test", "--config", "sns.toml"]).current_dir(place.dir());
    let tried = tried.aws("http://127.0.0.1:9", "http://127.0.0.1:9").env("AWS_ENDPOINT_URL_SNS", cloud.url());
    let tried = tried.run(LIMIT).expect("it ends").expect(exit::RUN).expect("there is no such topic");
    assert!(tried.text().expect("text").contains("check the topic's name, region and account"), "{tried:?}");
}

#[test]
fn configurations_are_checked_and_refused_with_place_and_mend() {
    let place = Place::new();
    place.write("good.toml", "[[alarm]]\nlag = \"read\"\nat_least = \"5m\"\n[metrics]\nemf = \"stdout\"\n");
    let checked = place.host("check --config good.toml").expect(0).expect("it is good");
    assert!(checked.text().expect("text").contains("Alarm `read-lag` on each lane: read lag >= 5m, in 3 of 5 points"));
    place.write("bad.toml", "[[alarm]]\nlagg = \"read\"\n[notify]\nslack = { env = \"PLIMSOLL_NOT_SET\" }\n");
    for line in [
        "check --config bad.toml",
        "alarms test --config bad.toml",
        "run --policy policy.toml --input good.ndjson --sqlite counts.db --config bad.toml",
    ] {
        let words = [
            "bad.toml:2:1: unknown field `lagg`",
            "did you mean `lag`?",
            "bad.toml:4:17:",
            "PLIMSOLL_NOT_SET is empty",
        ];
        place.refuses(line, exit::CONFIG, &words);
    }
    place.refuses("check --config nothere.toml", exit::CONFIG, &["cannot read the configuration nothere.toml"]);
    place.refuses("alarms test --config good.toml", exit::CONFIG, &["names nobody to tell", "[notify]"]);
    let run = "run --policy policy.toml --input good.ndjson --stdout --config good.toml";
    place.refuses(run, exit::CONFIG, &["standard output, and so do the rows"]);

    let run = "run --policy policy.toml --input good.ndjson --sqlite counts.db --config good.toml";
    let ran = place.host(run).expect(0).expect("figures go to standard output");
    let last: Value = serde_json::from_str(ran.text().expect("text").lines().next().expect("a line")).expect("JSON");
    assert_eq!(
        (&last["Policy"], &last["Counted"]),
        (&"impressions".into(), &3.into()),
        "the last figures are given out"
    );
}
