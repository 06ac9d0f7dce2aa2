//! The tables: making, checking, and knowing one from its restored copy.
//!
//! Invariants
//! - A table that is not as it must be is refused with what was found, what was expected and the mend; none is changed but
//!   those that `create` makes, their time to live, and the rows' stream where there is none.
//! - The counter of aliases names the table it was made in. In a restored or copied table it names another one: fences and
//!   heads there may not fit each other, so it is refused.
//! - It also says how many lanes share an item of a row (`part`): written once, on a condition, for as long as the table is.
//!
//! Not here: what stands in the tables (`item`).

use super::failure::Failure;
use super::head::counter_key;
use super::item::{EXPIRY, PK, SK, get_s, get_u64, n, s};
use super::{DynamoStore, part, rights};
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
/// Where DynamoDB Local says that its tables are, whatever region it is asked for.
const LOCAL: &str = "ddblocal";
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

/// What the counter of aliases says of its table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Marked {
    table: Option<String>,
    lanes_per_item: Option<u64>,
}

/// What looking at tables has found.
#[derive(Default)]
struct Look {
    wrong: Vec<String>,
    denied: rights::Denied,
}

impl DynamoStore {
    /// Looks at the four tables that counting needs, and gives the identity of the table of rows.
    pub(super) async fn check(&self) -> Result<String, StoreError> {
        let mut look = Look::default();
        let mut id = None;
        for (name, expiry) in self.names.all() {
            let table = self.look(name, expiry, &mut look).await?;
            if name == self.names.rows {
                id = table.as_ref().and_then(identity);
            }
        }
        self.all_right(look)?;
        id.ok_or_else(|| {
            StoreError::Refused(format!("table {}: found neither a table id nor a time of creation", self.names.rows))
        })
    }

    /// Looks at what rollups need: their tables, and the stream of the rows' changes, whose ARN it gives.
    pub(super) async fn check_rollups(&self) -> Result<String, StoreError> {
        let mut look = Look::default();
        for (name, expiry) in self.names.rollups() {
            self.look(name, expiry, &mut look).await?;
        }
        let rows = &self.names.rows;
        let arn = match self.look(rows, Expiry::Never, &mut look).await?.as_ref().map(stream) {
            Some(Ok(arn)) => Some(arn),
            Some(Err(fault)) => {
                look.wrong.push(format!("{rows}: {fault}"));
                None
            }
            None => None,
        };
        self.all_right(look)?;
        Ok(arn.expect("a table without a stream is refused"))
    }

    /// Looks at one table, and notes what is wrong with it.
    async fn look(&self, name: &str, expiry: Expiry, look: &mut Look) -> Result<Option<TableDescription>, StoreError> {
        let described = rights::allowed(self.describe_table(name).await, &mut look.denied)?;
        let Some(described) = described else { return Ok(None) };
        let Some(table) = described else {
            look.wrong.push(format!("{name}: found no such table, expected one"));
            return Ok(None);
        };
        let mut faults = faults(&table, &self.region);
        if expiry == Expiry::Rows && faults.is_empty() {
            let ttl = rights::allowed(self.describe_expiry(name).await, &mut look.denied)?;
            faults.extend(ttl.and_then(|ttl| expiry_fault(ttl.as_ref())));
        }
        look.wrong.extend(faults.into_iter().map(|fault| format!("{name}: {fault}")));
        Ok(Some(table))
    }

    fn all_right(&self, look: Look) -> Result<(), StoreError> {
        rights::refuse(look.denied)?;
        if look.wrong.is_empty() {
            return Ok(());
        }
        Err(StoreError::Refused(format!(
            "DynamoDB tables of `{prefix}` in {}: {}; if they are in another region, AWS_REGION says which; `plimsoll \
             tables create --dynamodb {prefix}` makes the tables that are missing, sets their time to live and turns the rows' \
             stream on, and what else is wrong needs another prefix",
            self.region,
            look.wrong.join("; "),
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

    async fn describe_table(&self, name: &str) -> Result<Option<TableDescription>, Failure> {
        match self.reader.describe_table().table_name(name).send().await {
            Ok(described) => Ok(described.table),
            Err(e) if e.code() == Some("ResourceNotFoundException") => Ok(None),
            Err(e) => Err(self.asked("DescribeTable", name).failure(&e)),
        }
    }

    async fn describe_expiry(&self, name: &str) -> Result<Option<TimeToLiveDescription>, Failure> {
        let described = self.reader.describe_time_to_live().table_name(name).send().await;
        let described = described.map_err(|e| self.asked("DescribeTimeToLive", name).failure(&e))?;
        Ok(described.time_to_live_description)
    }

    /// Makes the counter of aliases where there is none, and refuses that of another table. Gives the lanes of an item.
    pub(super) async fn mark(&self, id: &str) -> Result<u64, StoreError> {
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
                    .item("lanes_per_item", n(part::LANES_PER_ITEM))
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
            Some(Marked { table: Some(table), lanes_per_item }) if table == id => {
                // To guess would be to apply what a host of that version left pending to another item, a second time.
                lanes_per_item.filter(|n| *n > 0).ok_or_else(|| {
                    StoreError::Refused(format!(
                        "table {rows} ({}): the counter of aliases does not say how many lanes share an item of a row \
                         (`lanes_per_item`); it is of an older version or was changed: recount from the stream into tables of \
                         a new prefix (`plimsoll tables create --dynamodb {prefix}-2`, say)",
                        self.region
                    ))
                })
            }
            Some(Marked { table, .. }) => Err(StoreError::Refused(format!(
                "table {rows} ({}) has the identity {id}, but was counted into as {}: it was restored or copied, and its \
                 heads may not fit its rows; recount from the stream into tables of a new prefix (`plimsoll tables create \
                 --dynamodb NEW`)",
                self.region,
                table.as_deref().unwrap_or("nothing")
            ))),
            None => Err(StoreError::Refused(format!(
                "table {lanes} ({}) holds lanes, but {rows} has no counter of aliases: one of the two was emptied or replaced; \
                 recount from the stream into tables of a new prefix (`{prefix}-2`, say)",
                self.region
            ))),
        }
    }

    async fn marked(&self) -> Result<Option<Marked>, StoreError> {
        let rows = &self.names.rows;
        let got =
            self.reader.get_item().table_name(rows).set_key(Some(counter_key())).consistent_read(true).send().await;
        let got = got.map_err(|e| self.asked("GetItem", rows).failure(&e))?;
        Ok(got.item.map(|item| Marked {
            table: get_s(&item, "table").map(str::to_owned),
            lanes_per_item: get_u64(&item, "lanes_per_item"),
        }))
    }
}

/// A table's identity: the id that the service gave it at its creation, which no copy has.
fn identity(table: &TableDescription) -> Option<String> {
    let created = || table.creation_date_time.map(|t| format!("created-{}", t.secs()));
    table.table_id.clone().filter(|id| !id.is_empty()).or_else(created)
}

/// What is wrong with a table that is asked for in `region`.
fn faults(table: &TableDescription, region: &str) -> Vec<String> {
    let mut faults = Vec::new();
    // An endpoint of another region than the one that requests are signed for.
    let place = table.table_arn().and_then(|arn| arn.split(':').nth(3)).unwrap_or_default();
    if !["", LOCAL, region].contains(&place) {
        faults.push(format!("found it in {place}, expected {region}: AWS_REGION and the endpoint belong together"));
    }
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
    } else if let Some(version) = table.global_table_version() {
        // The older kind does not list its replicas here.
        faults.push(format!(
            "found a global table of version {version}, expected a table of one region: two regions' writes do not see each \
             other's fences"
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
        assert_eq!(faults(&ours, "eu-west-1"), Vec::<String>::new());
    }

    #[test]
    fn a_table_of_another_region_or_of_several_is_refused() {
        let mut ours = table([(PK, ScalarAttributeType::S), (SK, ScalarAttributeType::S)]);
        ours.table_arn = Some("arn:aws:dynamodb:us-west-2:123456789012:table/prod-rows".into());
        assert_eq!(faults(&ours, "us-west-2"), Vec::<String>::new());
        let text = faults(&ours, "eu-west-1").join("; ");
        assert!(text.contains("found it in us-west-2, expected eu-west-1"), "{text}");
        let mut local = ours.clone();
        local.table_arn = Some("arn:aws:dynamodb:ddblocal:000000000000:table/prod-rows".into());
        assert_eq!(faults(&local, "eu-west-1"), Vec::<String>::new());
        ours.global_table_version = Some("2017.11.29".into());
        let text = faults(&ours, "us-west-2").join("; ");
        assert!(text.contains("global table of version 2017.11.29"), "{text}");
    }

    #[test]
    fn faults_say_what_was_found_and_expected() {
        let mut other = table([("id", ScalarAttributeType::N), (SK, ScalarAttributeType::S)]);
        let replica = ReplicaDescription::builder().region_name("us-west-2").build();
        other.table_status = Some(TableStatus::Creating);
        other.replicas = Some(vec![replica]);
        let faults = faults(&other, "eu-west-1");
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
