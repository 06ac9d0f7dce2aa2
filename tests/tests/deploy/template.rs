//! The template as it is written: what each role may do, and what stays when the stack goes.
//!
//! Resources are compared by their names in the template (`RowsTable.Arn`), so that no account or region is needed.
//!
//! Invariants
//! - A statement that is written in a way this does not know (a deny, another condition, a pattern) fails the tests.

use crate::{deployed, read};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

/// What a role may do to what.
#[derive(Clone, Debug)]
pub struct Statement {
    pub actions: BTreeSet<String>,
    pub resources: BTreeSet<String>,
    /// Keys of the request that must have these values, or begin so where they end in `*`.
    pub conditions: BTreeMap<String, String>,
}

/// The template.
pub struct Template(Value);

impl Template {
    pub fn get() -> &'static Self {
        static TEMPLATE: OnceLock<Template> = OnceLock::new();
        let path = deployed("template.yaml");
        TEMPLATE.get_or_init(|| Self(read(&["yaml", path.to_str().expect("a path in UTF-8")], "")))
    }

    /// The resources of a type.
    pub fn resources(&self, kind: &str) -> BTreeMap<&str, &Value> {
        let all = self.0["Resources"].as_object().expect("resources");
        all.iter().filter(|(_, r)| r["Type"] == kind).map(|(name, r)| (name.as_str(), r)).collect()
    }

    pub fn properties(&self, name: &str) -> &Value {
        let found = &self.0["Resources"][name]["Properties"];
        assert!(found.is_object(), "the template has no resource {name}");
        found
    }

    /// All that a role may do, by its own policies and those attached.
    pub fn role(&self, name: &str) -> Vec<Statement> {
        let role = self.properties(name);
        let own = list(&role["Policies"]).iter().flat_map(branches).map(|policy| &policy["PolicyDocument"]);
        let attached = list(&role["ManagedPolicyArns"]).iter().map(|policy| {
            let name =
                policy["Ref"].as_str().unwrap_or_else(|| panic!("{name}: {policy} is no policy of the template"));
            &self.properties(name)["PolicyDocument"]
        });
        own.chain(attached).flat_map(statements).collect()
    }

    /// The table whose name ends so: `rows` gives `RowsTable`.
    pub fn table(&self, part: &str) -> Option<&str> {
        let tables = self.resources("AWS::DynamoDB::Table");
        let named = |t: &Value| t["Properties"]["TableName"]["Fn::Sub"] == format!("${{Name}}-${{Stage}}-{part}");
        tables.into_iter().find(|(_, t)| named(t)).map(|(name, _)| name)
    }
}

/// Both sides of an `Fn::If`, without `AWS::NoValue`; anything else is itself.
fn branches(value: &Value) -> Vec<&Value> {
    match &value["Fn::If"] {
        Value::Array(parts) => parts[1..].iter().filter(|part| part["Ref"] != "AWS::NoValue").collect(),
        _ => vec![value],
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// One or several.
fn each(value: &Value) -> Vec<&Value> {
    value.as_array().map_or_else(|| vec![value], |all| all.iter().collect())
}

pub fn statements(document: &Value) -> Vec<Statement> {
    list(&document["Statement"]).iter().map(Statement::of).collect()
}

impl Statement {
    fn of(value: &Value) -> Self {
        let object: &Map<String, Value> = value.as_object().expect("a statement");
        for key in object.keys() {
            let known = ["Sid", "Effect", "Action", "Resource", "Condition"];
            assert!(known.contains(&key.as_str()), "a statement with {key}: {value}");
        }
        assert_eq!(object["Effect"], "Allow", "{value}");
        let text = |v: &Value| v.as_str().unwrap_or_else(|| panic!("{v} is no text")).to_owned();
        let resource = |v: &Value| match v {
            Value::String(text) => text.clone(),
            _ if v["Ref"].is_string() => text(&v["Ref"]),
            _ => list(&v["Fn::GetAtt"]).iter().map(text).collect::<Vec<_>>().join("."),
        };
        let mut conditions = BTreeMap::new();
        for (operator, keys) in value["Condition"].as_object().into_iter().flatten() {
            assert!(["StringEquals", "ForAllValues:StringLike"].contains(&operator.as_str()), "{value}");
            for (key, wanted) in keys.as_object().expect("conditions") {
                let [wanted] = each(wanted)[..] else { panic!("{value}: expected one value of {key}") };
                conditions.insert(key.clone(), text(wanted));
            }
        }
        Self {
            actions: each(&object["Action"]).into_iter().map(text).collect(),
            resources: each(&object["Resource"]).into_iter().map(resource).collect(),
            conditions,
        }
    }

    /// Whether it allows an action on a resource, in a request that says `context` of itself.
    pub fn allows(&self, action: &str, resource: &str, context: &[(&str, &str)]) -> bool {
        let meets = |(key, wanted): (&String, &String)| {
            let found = context.iter().find(|(name, _)| name == key);
            found.is_some_and(|(_, found)| match wanted.strip_suffix('*') {
                Some(start) => found.starts_with(start),
                None => found == wanted,
            })
        };
        let named = self.resources.contains(resource) || self.resources.contains("*");
        self.actions.contains(action) && named && self.conditions.iter().all(meets)
    }
}

const ROLES: [&str; 3] = ["HostRole", "RollupRole", "DeviceRole"];

#[test]
fn no_statement_says_all() {
    let template = Template::get();
    assert_eq!(template.resources("AWS::IAM::Role").keys().len(), ROLES.len(), "a role that nothing here looks at");
    let policies = template.resources("AWS::IAM::ManagedPolicy");
    let documents = policies.values().map(|policy| &policy["Properties"]["PolicyDocument"]);
    let of_roles = ROLES.iter().flat_map(|role| template.role(role));
    for statement in documents.flat_map(statements).chain(of_roles) {
        assert!(statement.actions.iter().all(|action| !action.contains('*')), "{statement:?}");
        assert!(!statement.resources.is_empty() && !statement.resources.contains(""), "{statement:?}");
        if statement.resources.iter().any(|resource| resource.contains('*')) {
            // Metrics have no ARN; their namespace bounds it.
            assert_eq!(statement.actions, BTreeSet::from(["cloudwatch:PutMetricData".to_owned()]));
            assert_eq!(statement.conditions["cloudwatch:namespace"], "Plimsoll");
        }
    }
}

#[test]
fn a_device_may_put_a_record_to_the_stream_and_nothing_else() {
    let template = Template::get();
    let device = template.role("DeviceRole");
    assert_eq!(device.len(), 1);
    assert_eq!(device[0].actions, BTreeSet::from(["kinesis:PutRecord".to_owned()]));
    assert_eq!(device[0].resources, BTreeSet::from(["Stream.Arn".to_owned()]));

    let trust = list(&template.properties("DeviceRole")["AssumeRolePolicyDocument"]["Statement"]);
    assert_eq!(trust.len(), 1);
    assert_eq!(trust[0]["Principal"]["Federated"], "cognito-identity.amazonaws.com");
    assert_eq!(trust[0]["Action"], "sts:AssumeRoleWithWebIdentity");
    let condition = &trust[0]["Condition"];
    assert_eq!(condition["StringEquals"]["cognito-identity.amazonaws.com:aud"]["Ref"], "IdentityPool");
    assert_eq!(condition["ForAnyValue:StringLike"]["cognito-identity.amazonaws.com:amr"], "unauthenticated");
    // By the classic flow a guest would have the role without the limits that Cognito sets to guests.
    assert_eq!(template.properties("IdentityPool")["AllowClassicFlow"], false);
    let roles = template.properties("IdentityPoolRoles")["Roles"].as_object().expect("roles");
    assert_eq!(roles.keys().collect::<Vec<_>>(), ["unauthenticated"]);
}

#[test]
fn metrics_of_another_namespace_are_refused() {
    let host = Template::get().role("HostRole");
    let allows = |context: &[(&str, &str)]| host.iter().any(|s| s.allows("cloudwatch:PutMetricData", "*", context));
    assert!(allows(&[("cloudwatch:namespace", "Plimsoll")]));
    assert!(!allows(&[("cloudwatch:namespace", "AWS/Billing")]) && !allows(&[]));
}

#[test]
fn the_rollup_notes_how_far_it_is_and_cannot_touch_a_head() {
    let rollup = Template::get().role("RollupRole");
    let allows = |action: &str, resource: &str, pk: &str| {
        rollup.iter().any(|s| s.allows(action, resource, &[("dynamodb:LeadingKeys", pk)]))
    };
    assert!(allows("dynamodb:PutItem", "LanesTable.Arn", "rollup#r/1"));
    assert!(allows("dynamodb:GetItem", "LanesTable.Arn", "head#impressions//lane"));
    for action in ["dynamodb:PutItem", "dynamodb:DeleteItem", "dynamodb:UpdateItem"] {
        assert!(!allows(action, "LanesTable.Arn", "head#impressions//lane"), "{action}");
        assert!(!allows(action, "RowsTable.Arn", "rollup#r/1"), "{action}");
    }
}

#[test]
fn what_was_counted_outlives_a_stack_in_prod() {
    let template = Template::get();
    let keeps = serde_json::json!({ "Fn::If": ["IsProd", "Retain", "Delete"] });
    let mut kept = 0;
    for kind in ["AWS::DynamoDB::Table", "AWS::Kinesis::Stream", "AWS::Logs::LogGroup"] {
        for (name, resource) in template.resources(kind) {
            assert_eq!(resource["DeletionPolicy"], keeps, "{name}");
            assert_eq!(resource["UpdateReplacePolicy"], keeps, "{name}");
            kept += 1;
        }
    }
    assert_eq!(kept, 8);
    let only_prod = serde_json::json!({ "Fn::If": ["IsProd", true, false] });
    for (name, table) in template.resources("AWS::DynamoDB::Table") {
        let table = &table["Properties"];
        assert_eq!(table["SSESpecification"]["SSEEnabled"], true, "{name}");
        assert_eq!(table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"], only_prod, "{name}");
        assert_eq!(table["DeletionProtectionEnabled"], only_prod, "{name}");
    }
    assert_eq!(template.properties("Stream")["StreamEncryption"]["EncryptionType"], "KMS");
}

#[test]
fn a_host_that_is_gone_is_an_alarm_and_a_quiet_table_is_none() {
    let template = Template::get();
    let commit = template.properties("CommitLagAlarm");
    assert_eq!((&commit["Namespace"], &commit["MetricName"]), (&"Plimsoll".into(), &"CommitLag".into()));
    for (name, alarm) in template.resources("AWS::CloudWatch::Alarm") {
        let lag = ["CommitLagAlarm", "IteratorAgeAlarm"].contains(&name);
        let missing = if lag { "breaching" } else { "notBreaching" };
        assert_eq!(alarm["Properties"]["TreatMissingData"], missing, "{name}");
    }
}

#[test]
fn every_alarm_tells_the_topic_and_the_guide_tells_what_to_do() {
    let guide = std::fs::read_to_string(plimsoll_tests::workspace().join("OPERATIONS.md")).expect("the guide");
    for (name, alarm) in Template::get().resources("AWS::CloudWatch::Alarm") {
        let alarm = &alarm["Properties"];
        assert_eq!(alarm["AlarmActions"], serde_json::json!([{ "Ref": "Topic" }]), "{name}");
        let called = alarm["AlarmName"]["Fn::Sub"].as_str().expect("a name");
        let called = called.strip_prefix("${Name}-${Stage}-").expect("the stack's name before its own");
        assert!(guide.contains(&format!("`{called}`")), "OPERATIONS.md says nothing of the alarm `{called}`");
    }
}
