//! What the code asks of AWS, found in its source, against what its roles allow.
//!
//! Which words are operations is not written here: they are those of the services' own models.
//!
//! Not here: on which resource. The real host runs behind a guard that knows its role (`stack`).

use crate::ask_aws;
use crate::template::Template;
use plimsoll_tests::workspace;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The SDK's crates, the models of their services, and what IAM calls these.
const SERVICES: [(&str, &str, &str); 5] = [
    ("aws_sdk_kinesis", "kinesis", "kinesis"),
    ("aws_sdk_dynamodb", "dynamodb", "dynamodb"),
    ("aws_sdk_dynamodbstreams", "dynamodbstreams", "dynamodb"),
    ("aws_sdk_cloudwatch", "cloudwatch", "cloudwatch"),
    ("aws_sdk_sns", "sns", "sns"),
];

/// What commands do that people run, with rights of their own.
const OF_PEOPLE: [(&str, &str); 4] = [
    // `plimsoll tables create`: the stack makes the tables of those who run by it.
    ("store/dynamodb/tables.rs", "dynamodb:CreateTable"),
    ("store/dynamodb/tables.rs", "dynamodb:UpdateTable"),
    ("store/dynamodb/tables.rs", "dynamodb:UpdateTimeToLive"),
    // `plimsoll produce`.
    ("source/kinesis/put.rs", "kinesis:PutRecords"),
];

/// A call: the file under `host/src`, and the action.
type Call = (String, String);

/// All calls of the host's source, tests left out.
fn calls() -> BTreeSet<Call> {
    let models = ask_aws(&["operations"]);
    let root = workspace().join("host/src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    let mut calls = BTreeSet::new();
    for path in files {
        let name = path.strip_prefix(&root).expect("it lies there").to_str().expect("UTF-8").to_owned();
        let text = source(&path);
        for (_, model, iam) in services(&root, &path) {
            let operations = models[model].as_object().expect("operations");
            let called = operations.iter().filter(|(rust, _)| asks(&text, rust));
            calls.extend(called.map(|(_, operation)| (name.clone(), format!("{iam}:{}", text_of(operation)))));
        }
    }
    calls
}

/// Whether an operation is asked of a client; `self.query()` is a method of our own.
fn asks(text: &str, operation: &str) -> bool {
    let call = format!(".{operation}()");
    text.match_indices(&call).any(|(at, _)| !text[..at].ends_with("self"))
}

fn text_of(value: &Value) -> &str {
    value.as_str().expect("text")
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the host") {
        let path = entry.expect("an entry").path();
        let tests = path.file_stem().is_some_and(|stem| stem == "tests" || stem == "contract");
        if path.is_dir() && !tests {
            walk(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !tests {
            files.push(path);
        }
    }
}

/// Without the unit tests at its end.
fn source(path: &Path) -> String {
    let text = std::fs::read_to_string(path).expect("a file of the host");
    text.split("#[cfg(test)]\nmod ").next().expect("a split has a first part").to_owned()
}

/// The services that a file speaks to: those whose crates it names, or else its parent module does.
fn services(root: &Path, path: &Path) -> Vec<(&'static str, &'static str, &'static str)> {
    let text = source(path);
    let named: Vec<_> = SERVICES.into_iter().filter(|(name, ..)| text.contains(&format!("{name}::"))).collect();
    let parent = path.parent().expect("a folder").with_extension("rs");
    if named.is_empty() && parent.starts_with(root) && parent.is_file() { services(root, &parent) } else { named }
}

/// Whose process a file runs in.
fn role(file: &str) -> &'static str {
    let of_rollup = ["rollup", "store/dynamodb/hours.rs", "store/dynamodb/notes.rs", "store/dynamodb/stream.rs"];
    if of_rollup.iter().any(|part| file.contains(part)) { "RollupRole" } else { "HostRole" }
}

#[test]
fn every_client_is_known_here() {
    let manifest = std::fs::read_to_string(workspace().join("host/Cargo.toml")).expect("the host's manifest");
    for line in manifest.lines().filter(|line| line.starts_with("aws-sdk-")) {
        let name = line.split(['.', ' ']).next().expect("a name").replace('-', "_");
        assert!(
            SERVICES.iter().any(|(known, ..)| *known == name),
            "{name} is spoken to, and no role is held against it"
        );
    }
}

#[test]
fn roles_allow_what_the_code_calls() {
    let template = Template::get();
    let calls = calls();
    for known in ["kinesis:GetRecords", "dynamodb:UpdateItem", "dynamodb:DescribeTimeToLive"] {
        assert!(calls.iter().any(|(_, action)| action == known), "{known} is not found in the source: {calls:?}");
    }
    for (file, action) in OF_PEOPLE {
        assert!(calls.contains(&(file.to_owned(), action.to_owned())), "{file} does not call {action} any more");
    }
    for (file, action) in &calls {
        if OF_PEOPLE.contains(&(file.as_str(), action.as_str())) {
            continue;
        }
        let role = role(file);
        let allowed = template.role(role).iter().any(|statement| statement.actions.contains(action));
        assert!(allowed, "{file} calls {action}, which {role} in host/deploy/template.yaml does not allow");
    }
}

#[test]
fn the_host_may_do_nothing_that_its_code_does_not_call() {
    let called: BTreeSet<String> = calls().into_iter().map(|(_, action)| action).collect();
    let service = |action: &str| action.split(':').next().expect("a split has a first part").to_owned();
    // Of a service that nothing here calls at all, the host's part is not in this tree. The agent that ships logs is not
    // ours, and has the machine's role on EC2.
    let services: BTreeSet<String> = called.iter().map(|action| service(action)).collect();
    for statement in Template::get().role("HostRole") {
        for action in statement.actions.iter().filter(|action| services.contains(&service(action))) {
            assert!(called.contains(action), "HostRole allows {action}, which nothing in host/src calls");
        }
    }
}
