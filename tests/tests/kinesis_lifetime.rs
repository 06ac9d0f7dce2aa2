//! A stream over its life: runs that begin at its tip, a stream that is made again, records that are packed, rights that are
//! missing for one action.
//!
//! Not here: shards that split and merge (`kinesis_reshard`), single readers (`kinesis_source`), rights that are missing for
//! all actions (`bad_aws`).

use flate2::{Compression, write::GzEncoder};
use plimsoll_tests::aws::{self, Retries};
use plimsoll_tests::place::{GOOD, LIMIT, Place, exit, refused};
use plimsoll_tests::process::{Finished, Host};
use plimsoll_tests::proxy::{Fault, Proxy, Rule};
use plimsoll_tests::server::Kinesis;
use plimsoll_tests::streams::{create, delete, fresh, put, split};
use std::io::Write;
use std::time::Duration;

const NOBODY: &str = "http://127.0.0.1:9";
fn good(n: usize) -> impl Iterator<Item = Vec<u8>> {
    std::iter::repeat_n(GOOD.as_bytes().to_vec(), n)
}

/// A command there, run to its good end.
fn done(place: &Place, server: &Kinesis, line: &str) -> Finished {
    let host: Host = place.command(line).aws(server.url(), NOBODY);
    host.run(LIMIT).and_then(|done| done.expect(0)).unwrap_or_else(|error| panic!("{error:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_begins_at_the_tip_only_the_first_time() {
    let (place, server) = (Place::new(), Kinesis::start().expect("a Kinesis"));
    let client = aws::kinesis(server.url(), Retries::Sdk).await;
    let stream = fresh("tip");
    create(&client, &stream, 2).await;
    put(&client, &stream, good(40)).await;
    let line = format!("run --once --start latest --policy policy.toml --kinesis {stream} --sqlite counts.db");
    done(&place, &server, &line);
    assert_eq!(place.try_counted_in("counts.db"), Some(0), "what was there before is not counted");
    // Nothing was committed. What comes while no host runs is what came after the start all the same; clocks may differ, so
    // the lanes begin some minutes before it, and what was put just now is counted too.
    put(&client, &stream, good(60)).await;
    done(&place, &server, &line);
    assert_eq!(place.counted_in("counts.db"), 100);
    done(&place, &server, &line);
    assert_eq!(place.counted_in("counts.db"), 100);
    // A shard that opens later is read from its first record.
    split(&client, &stream, 0, 1 << 125).await;
    put(&client, &stream, good(50)).await;
    done(&place, &server, &line);
    assert_eq!(place.counted_in("counts.db"), 150);
    assert!(done(&place, &server, "gaps --policy policy.toml --sqlite counts.db").stdout.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_made_again_is_another_generation() {
    let (place, server) = (Place::new(), Kinesis::start().expect("a Kinesis"));
    let client = aws::kinesis(server.url(), Retries::Sdk).await;
    let stream = fresh("again");
    create(&client, &stream, 1).await;
    put(&client, &stream, good(10)).await;
    let line = format!("run --policy policy.toml --kinesis {stream} --sqlite counts.db --flush-interval 100ms");
    let mut running = place.command(&line).aws(server.url(), NOBODY).spawn().expect("the host starts");
    let ten = || place.try_counted_in("counts.db").filter(|counted| *counted == 10);
    running.until("ten records are counted", LIMIT, |_| ten()).expect("they are");
    delete(&client, &stream).await;
    // The service takes a while to delete a stream, and until then nothing of it can be read.
    let ended = running.wait(LIMIT).expect("it ends by itself").expect(exit::INPUT).expect("as an input that changed");
    assert!(ended.stderr.contains(&stream), "{}", ended.stderr);
    // The stand-in tells when a stream was made in whole seconds, and has deleted one in no time.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    create(&client, &stream, 1).await;
    put(&client, &stream, good(7)).await;
    let words = ["made again", "--generation", &stream];
    refused(place.command(&format!("{line} --once")).aws(server.url(), NOBODY), exit::INPUT, &words);
    refused(place.command(&format!("{line} --once --accept-gaps")).aws(server.url(), NOBODY), exit::INPUT, &words);
    assert_eq!(place.counted_in("counts.db"), 10);
    let gaps = done(&place, &server, "gaps --policy policy.toml --sqlite counts.db");
    assert!(gaps.text().expect("text").contains("\"kind\":\"replaced\""), "{gaps:?}");
    done(&place, &server, &format!("{line} --once --generation second"));
    let rows = done(&place, &server, "rows --policy policy.toml --sqlite counts.db --generation second");
    assert!(rows.text().expect("text").contains("\"events\":7"), "{rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn packed_records_are_counted_one_by_one() {
    let (place, server) = (Place::new(), Kinesis::start().expect("a Kinesis"));
    let client = aws::kinesis(server.url(), Retries::Sdk).await;
    let stream = fresh("packed");
    create(&client, &stream, 2).await;
    done(&place, &server, &format!("produce --records 3000 --seed 3 --kinesis {stream} --aggregate 40"));
    let shards = client.list_shards().stream_name(&stream).send().await.expect("shards");
    assert_eq!(shards.shards().len(), 2);
    let run = format!("run --once --policy policy.toml --kinesis {stream} --sqlite counts.db --json");
    let counted = done(&place, &server, &run);
    let account = |done: &Finished| {
        let line = done.stderr.lines().rev().find(|line| line.starts_with("{\"account\"")).expect("a summary");
        serde_json::from_str::<serde_json::Value>(line).expect("JSON")["account"].clone()
    };
    assert_eq!(account(&counted)["read"], 3_000, "{counted:?}");
    assert_eq!(account(&counted)["rejected"], 0);

    // Lists, lines and compressed ones; and three that are no events: a damaged one, a bomb, a list of something else.
    let gzip = |data: &[u8]| {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(data).expect("a vector takes all");
        packed.finish().expect("a vector takes all")
    };
    let mut damaged = gzip(GOOD.as_bytes());
    damaged.truncate(30);
    let (list, lines) = (format!("[{GOOD},\n{GOOD}]"), format!("{GOOD}\n{GOOD}\r\n\n{GOOD}\n"));
    let bomb = gzip(&vec![b' '; 17 << 20]);
    let zstd = zstd::encode_all(list.as_bytes(), 3).expect("it is compressed");
    let records =
        [list.into_bytes(), gzip(lines.as_bytes()), zstd, lines.into_bytes(), damaged, bomb, b"[1,2]".to_vec()];
    put(&client, &stream, records).await;
    let counted = done(&place, &server, &format!("{run} --accept-poison"));
    let account = account(&counted);
    assert_eq!((&account["read"], &account["rejected"]), (&(2 + 3 + 2 + 3 + 3).into(), &3.into()), "{counted:?}");
    let letters = done(&place, &server, "rows --dead-letters --policy policy.toml --sqlite counts.db");
    let letters = letters.text().expect("text");
    assert_eq!(letters.matches("\"reason\":\"too_long\"").count(), 1, "{letters}");
    assert_eq!(letters.matches("\"reason\":\"malformed\"").count(), 2, "{letters}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_for_one_action_is_named() {
    let (place, server) = (Place::new(), Kinesis::start().expect("a Kinesis"));
    let client = aws::kinesis(server.url(), Retries::Sdk).await;
    let stream = fresh("rights");
    create(&client, &stream, 1).await;
    let proxy = Proxy::start(server.url(), 1, vec![]).expect("a proxy");
    let line = format!("run --once --policy policy.toml --kinesis {stream} --sqlite counts.db");
    for action in ["DescribeStreamSummary", "ListShards", "GetShardIterator", "GetRecords"] {
        proxy.set_rules(1, vec![Rule::on(action, Fault::Deny, 1)]);
        let mend = format!("allow kinesis:{action} on arn:aws:kinesis:{}:*:stream/{stream}", aws::REGION);
        refused(place.command(&line).aws(&proxy.url(), NOBODY), exit::INPUT, &[&mend]);
    }
}
