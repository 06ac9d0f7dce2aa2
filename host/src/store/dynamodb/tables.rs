//! The tables: making, checking, and knowing one from its restored copy.
//!
//! Invariants
//! - A table that is not as it must be is refused with what was found, what was expected and the mend; none is changed but
//!   those that `create` makes, their time to live, and the rows' stream where there is none.
//! - The counter of aliases names the table it was made in. In a restored or copied table it names another one: fences and
//!   heads there may not fit each other, so it is refused.
//!
//! Not here: what stands in the tables (`item`).

use super::DynamoStore;
use super::head::counter_key;
use super::item::{EXPIRY, PK, SK, get_s, n, s};
use crate::store::StoreError;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, StreamSpecification,
    StreamViewType, TableDescription, TableStatus, TimeToLiveDescription, TimeToLiveSpecification, TimeToLiveStatus,
};
use std::time::{Duration, Instant};

/// How long a new table may take to become active.
const ACTIVE_MAX: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(250);
/// Longest name of a table.
const NAME_BYTES_MAX: usize = 255;

/// Names of the tables.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub prefix: String,
    pub rows: String,
    pub late: String,
    pub dead: String,
    pub lanes: String,
    pub hours: String,
    pub days: String,
}

/// Whether a table's items expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    Rows,
    Never,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Result<Self, StoreError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        if prefix.is_empty() || prefix.len() + "-lanes".len() > NAME_BYTES_MAX || !prefix.bytes().all(allowed) {
            return Err(StoreError::Refused(format!(
                "`{prefix}` cannot begin the name of a DynamoDB table: expected 1 to 249 letters, digits, `_`, `-` and `.`"
            )));
        }
        let name = |table| format!("{prefix}-{table}");
        Ok(Self {
            prefix: prefix.to_owned(),
            rows: name("rows"),
            late: name("late"),
            dead: name("dead"),
            lanes: name("lanes"),
            hours: name("hours"),
            days: name("days"),
        })
    }

    pub(super) fn all(&self) -> [(&str, Expiry); 4] {
        [
            (&self.rows, Expiry::Rows),
            (&self.late, Expiry::Rows),
            (&self.dead, Expiry::Never),
            (&self.lanes, Expiry::Never),
        ]
    }

    /// Those that rollups need beside. What is in them is what stays when rows have expired: they have no time to live.
    pub(super) fn rollups(&self) -> [(&str, Expiry); 2] {
        [(&self.hours, Expiry::Never), (&self.days, Expiry::Never)]
    }
}

impl DynamoStore {
    /// Looks at the four tables that counting needs, and gives the identity of the table of rows.
    pub(super) async fn check(&self) -> Result<String, StoreError> {
        let mut wrong = Vec::new();
        let mut id = None;
        for (name, expiry) in self.names.all() {
            let table = self.look(name, expiry, &mut wrong).await?;
            if name == self.names.rows {
                id = table.as_ref().and_then(identity);
            }
        }
        self.all_right(&wrong)?;
        id.ok_or_else(|| {
            StoreError::Refused(format!("table {}: found neither a table id nor a time of creation", self.names.rows))
        })
    }

    /// Looks at what rollups need: their tables, and the stream of the rows' changes, whose ARN it gives.
    pub(super) async fn check_rollups(&self) -> Result<String, StoreError> {
        let mut wrong = Vec::new();
        for (name, expiry) in self.names.rollups() {
            self.look(name, expiry, &mut wrong).await?;
        }
        let rows = &self.names.rows;
        let arn = match self.look(rows, Expiry::Never, &mut wrong).await?.as_ref().map(stream) {
            Some(Ok(arn)) => Some(arn),
            Some(Err(fault)) => {
                wrong.push(format!("{rows}: {fault}"));
                None
            }
            None => None,
        };
        self.all_right(&wrong)?;
        Ok(arn.expect("a table without a stream is refused"))
    }

    /// Looks at one table, and notes what is wrong with it.
    async fn look(
        &self,
        name: &str,
        expiry: Expiry,
        wrong: &mut Vec<String>,
    ) -> Result<Option<TableDescription>, StoreError> {
        let Some(table) = self.describe_table(name).await? else {
            wrong.push(format!("{name}: found no such table, expected one"));
            return Ok(None);
        };
        let mut faults = faults(&table);
        if expiry == Expiry::Rows && faults.is_empty() {
            faults.extend(expiry_fault(self.describe_expiry(name).await?.as_ref()));
        }
        wrong.extend(faults.into_iter().map(|fault| format!("{name}: {fault}")));
        Ok(Some(table))
    }

    fn all_right(&self, wrong: &[String]) -> Result<(), StoreError> {
        if wrong.is_empty() {
            return Ok(());
        }
        Err(StoreError::Refused(format!(
            "DynamoDB tables of `{prefix}` in {}: {}; `plimsoll tables create --dynamodb {prefix}` makes the tables that \
             are missing, sets their time to live and turns the rows' stream on, and what else is wrong needs another prefix",
            self.region,
            wrong.join("; "),
            prefix = self.names.prefix,
        )))
    }

    /// Makes what is missing.
    pub(super) async fn create(&self) -> Result<(), StoreError> {
        let all = || self.names.all().into_iter().chain(self.names.rollups());
        for (name, _) in all() {
            if self.describe_table(name).await?.is_none() {
                self.create_table(name).await?;
            }
        }
        let begun = Instant::now();
        for (name, expiry) in all() {
            while self.describe_table(name).await?.is_none_or(|t| t.table_status != Some(TableStatus::Active)) {
                if begun.elapsed() > ACTIVE_MAX {
                    return Err(StoreError::Passing(format!(
                        "table {name} ({}) was made but is not active after {} s; ask again with `plimsoll tables create`",
                        self.region,
                        ACTIVE_MAX.as_secs()
                    )));
                }
                tokio::time::sleep(POLL).await;
            }
            if expiry == Expiry::Rows && expiry_attribute(self.describe_expiry(name).await?.as_ref()).is_none() {
                self.set_expiry(name).await?;
            }
        }
        let rows = &self.names.rows;
        if self.describe_table(rows).await?.is_some_and(|table| !streams(&table)) {
            let on = self.reader.update_table().table_name(rows).stream_specification(new_images()).send().await;
            on.map_err(|e| self.asked("UpdateTable", rows).failure(&e))?;
        }
        Ok(())
    }

    async fn create_table(&self, name: &str) -> Result<(), StoreError> {
        let built = "all that is required was given";
        let attribute = |name: &str| {
            let text = AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S);
            text.build().expect(built)
        };
        let part =
            |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build().expect(built);
        let mut create = self
            .reader
            .create_table()
            .table_name(name)
            .billing_mode(BillingMode::PayPerRequest)
            .attribute_definitions(attribute(PK))
            .attribute_definitions(attribute(SK))
            .key_schema(part(PK, KeyType::Hash))
            .key_schema(part(SK, KeyType::Range));
        if name == self.names.rows {
            // Rollups to hours and days, and whoever else wants to follow the rows.
            create = create.stream_specification(new_images());
        }
        match create.send().await {
            Ok(_) => Ok(()),
            // Somebody else was faster.
            Err(e) if e.code() == Some("ResourceInUseException") => Ok(()),
            Err(e) => Err(self.asked("CreateTable", name).failure(&e).into()),
        }
    }

    async fn set_expiry(&self, name: &str) -> Result<(), StoreError> {
        let spec = TimeToLiveSpecification::builder().attribute_name(EXPIRY).enabled(true).build();
        let spec = spec.expect("all that is required was given");
        let set = self.reader.update_time_to_live().table_name(name).time_to_live_specification(spec).send().await;
        set.map(drop).map_err(|e| self.asked("UpdateTimeToLive", name).failure(&e).into())
    }

    async fn describe_table(&self, name: &str) -> Result<Option<TableDescription>, StoreError> {
        match self.reader.describe_table().table_name(name).send().await {
            Ok(described) => Ok(described.table),
            Err(e) if e.code() == Some("ResourceNotFoundException") => Ok(None),
            Err(e) => Err(self.asked("DescribeTable", name).failure(&e).into()),
        }
    }

    async fn describe_expiry(&self, name: &str) -> Result<Option<TimeToLiveDescription>, StoreError> {
        let described = self.reader.describe_time_to_live().table_name(name).send().await;
        let described = described.map_err(|e| self.asked("DescribeTimeToLive", name).failure(&e))?;
        Ok(described.time_to_live_description)
    }

    /// Makes the counter of aliases where there is none, and refuses that of another table.
    pub(super) async fn mark(&self, id: &str) -> Result<(), StoreError> {
        let (rows, lanes) = (&self.names.rows, &self.names.lanes);
        let mut marked = self.marked().await?;
        if marked.is_none() {
            // A counter that starts again where lanes were counted would give out their aliases a second time.
            let used = self.reader.scan().table_name(lanes).limit(1).consistent_read(true).send().await;
            let used = used.map_err(|e| self.asked("Scan", lanes).failure(&e))?.count > 0;
            if !used {
                let put = self
                    .reader
                    .put_item()
                    .table_name(rows)
                    .set_item(Some(counter_key()))
                    .item("table", s(id))
                    .item("aliases", n(0))
                    .condition_expression("attribute_not_exists(#pk)")
                    .expression_attribute_names("#pk", PK);
                match put.send().await {
                    Ok(_) => {}
                    Err(e)
                        if matches!(e.as_service_error(), Some(PutItemError::ConditionalCheckFailedException(_))) => {}
                    Err(e) => return Err(self.asked("PutItem", rows).failure(&e).into()),
                }
            }
            marked = self.marked().await?;
        }
        let prefix = &self.names.prefix;
        match marked {
            Some(table) if table == id => Ok(()),
            Some(table) => Err(StoreError::Refused(format!(
                "table {rows} ({}) has the identity {id}, but was counted into as {table}: it was restored or copied, and its \
                 heads may not fit its rows; recount from the stream into tables of a new prefix (`plimsoll tables create \
                 --dynamodb NEW`)",
                self.region
            ))),
            None => Err(StoreError::Refused(format!(
                "table {lanes} ({}) holds lanes, but {rows} has no counter of aliases: one of the two was emptied or replaced; \
                 recount from the stream into tables of a new prefix (`{prefix}-2`, say)",
                self.region
            ))),
        }
    }

    async fn marked(&self) -> Result<Option<String>, StoreError> {
        let rows = &self.names.rows;
        let got =
            self.reader.get_item().table_name(rows).set_key(Some(counter_key())).consistent_read(true).send().await;
        let got = got.map_err(|e| self.asked("GetItem", rows).failure(&e))?;
        Ok(got.item.as_ref().and_then(|item| get_s(item, "table")).map(str::to_owned))
    }
}

/// A table's identity: the id that the service gave it at its creation, which no copy has.
fn identity(table: &TableDescription) -> Option<String> {
    let created = || table.creation_date_time.map(|t| format!("created-{}", t.secs()));
    table.table_id.clone().filter(|id| !id.is_empty()).or_else(created)
}

/// What is wrong with a table.
fn faults(table: &TableDescription) -> Vec<String> {
    let mut faults = Vec::new();
    match &table.table_status {
        // What is changed elsewhere (an index, the stream) does not hold writes up.
        Some(TableStatus::Active | TableStatus::Updating) => {}
        other => {
            let found = other.as_ref().map_or("no status", TableStatus::as_str);
            faults.push(format!("found status {found}, expected ACTIVE: wait until it is"));
        }
    }
    let kind = |name: &str| {
        let of_name = table.attribute_definitions().iter().find(|a| a.attribute_name == name);
        of_name.map_or("?", |a| a.attribute_type.as_str())
    };
    let schema: Vec<String> = table
        .key_schema()
        .iter()
        .map(|k| format!("{} {} {}", k.key_type.as_str(), k.attribute_name, kind(&k.attribute_name)))
        .collect();
    let expected = [format!("HASH {PK} S"), format!("RANGE {SK} S")];
    if schema != expected {
        faults.push(format!("found the key ({}), expected ({})", schema.join(", "), expected.join(", ")));
    }
    if !table.replicas().is_empty() {
        let regions: Vec<&str> = table.replicas().iter().filter_map(|r| r.region_name()).collect();
        faults.push(format!(
            "found a global table with replicas in {}, expected a table of one region: two regions' writes do not see each \
             other's fences",
            regions.join(", ")
        ));
    }
    faults
}

/// What rollups read: each row as it is after a change.
fn new_images() -> StreamSpecification {
    let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(StreamViewType::NewImage);
    stream.build().expect("all that is required was given")
}

/// Whether a table has a stream, of whatever kind.
fn streams(table: &TableDescription) -> bool {
    table.stream_specification.as_ref().is_some_and(|s| s.stream_enabled)
}

/// The ARN of a table's stream, or what is wrong with it.
fn stream(table: &TableDescription) -> Result<String, String> {
    let kind = table.stream_specification.as_ref().filter(|s| s.stream_enabled).map(|s| s.stream_view_type.as_ref());
    let found = match kind {
        Some(Some(StreamViewType::NewImage | StreamViewType::NewAndOldImages)) => match table.latest_stream_arn() {
            Some(arn) => return Ok(arn.to_owned()),
            None => "a stream without an ARN".to_owned(),
        },
        Some(other) => format!(
            "a stream of {}, which can only be turned off (`aws dynamodb update-table --stream-specification \
             StreamEnabled=false`) and made anew",
            other.map_or("nothing", StreamViewType::as_str)
        ),
        None => "no stream of changes".to_owned(),
    };
    Err(format!("found {found}, expected one of NEW_IMAGE"))
}

/// The attribute by which items expire, if they do.
fn expiry_attribute(ttl: Option<&TimeToLiveDescription>) -> Option<&str> {
    let ttl = ttl?;
    let on = matches!(ttl.time_to_live_status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling));
    on.then(|| ttl.attribute_name().unwrap_or_default())
}

fn expiry_fault(ttl: Option<&TimeToLiveDescription>) -> Option<String> {
    match expiry_attribute(ttl) {
        Some(EXPIRY) => None,
        Some(other) => Some(format!("found time to live by `{other}`, expected `{EXPIRY}`")),
        None => Some(format!("found no time to live, expected it by `{EXPIRY}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_dynamodb::types::ReplicaDescription;

    fn table(parts: [(&str, ScalarAttributeType); 2]) -> TableDescription {
        let mut table = TableDescription::builder().table_status(TableStatus::Active);
        for ((name, kind), role) in parts.into_iter().zip([KeyType::Hash, KeyType::Range]) {
            let attribute = AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build();
            let part = KeySchemaElement::builder().attribute_name(name).key_type(role).build();
            table = table.attribute_definitions(attribute.unwrap()).key_schema(part.unwrap());
        }
        table.build()
    }

    #[test]
    fn a_table_of_ours_has_no_faults() {
        let ours = table([(PK, ScalarAttributeType::S), (SK, ScalarAttributeType::S)]);
        assert_eq!(faults(&ours), Vec::<String>::new());
    }

    #[test]
    fn faults_say_what_was_found_and_expected() {
        let mut other = table([("id", ScalarAttributeType::N), (SK, ScalarAttributeType::S)]);
        let replica = ReplicaDescription::builder().region_name("us-west-2").build();
        other.table_status = Some(TableStatus::Creating);
        other.replicas = Some(vec![replica]);
        let faults = faults(&other);
        assert_eq!(faults.len(), 3);
        assert!(faults[0].contains("CREATING"), "{faults:?}");
        assert!(faults[1].contains("HASH id N") && faults[1].contains("HASH _pk S"), "{faults:?}");
        assert!(faults[2].contains("us-west-2"), "{faults:?}");
    }

    #[test]
    fn expiry_is_by_our_attribute_or_a_fault() {
        let ttl = |name: &str, status| {
            TimeToLiveDescription::builder().attribute_name(name).time_to_live_status(status).build()
        };
        assert_eq!(expiry_fault(Some(&ttl(EXPIRY, TimeToLiveStatus::Enabling))), None);
        assert!(expiry_fault(Some(&ttl("ttl", TimeToLiveStatus::Enabled))).unwrap().contains("`ttl`"));
        assert!(expiry_fault(Some(&ttl(EXPIRY, TimeToLiveStatus::Disabled))).is_some());
        assert!(expiry_fault(None).is_some());
    }

    #[test]
    fn names_are_checked() {
        assert_eq!(Names::new("prod.eu").unwrap().all().map(|(name, _)| name.to_owned())[3], "prod.eu-lanes");
        for wrong in ["", "a/b", "ä", &"x".repeat(250)] {
            assert!(Names::new(wrong).is_err(), "{wrong}");
        }
    }
}
