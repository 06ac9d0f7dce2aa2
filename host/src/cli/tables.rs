//! `plimsoll tables`: makes or checks the DynamoDB tables of a prefix.

use super::{Exit, Outcome};
use crate::store::dynamodb::DynamoStore;

/// Makes or checks DynamoDB tables.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  plimsoll tables create --dynamodb prod     makes prod-rows, -late, -dead, -lanes, -hours and -days, on demand
  plimsoll tables check --dynamodb prod")]
pub struct Args {
    /// Make what is missing, or only look.
    #[arg(value_enum)]
    action: Action,
    /// The prefix of the tables' names.
    #[arg(long, value_name = "PREFIX")]
    dynamodb: String,
    /// One JSON object a table.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Action {
    Create,
    Check,
}

pub async fn tables(args: Args) -> Outcome {
    let store = DynamoStore::connect(&args.dynamodb).await.map_err(|e| Exit::Store.because(e))?;
    let names = match args.action {
        Action::Create => store.create_tables().await,
        Action::Check => store.check_tables().await,
    }
    .map_err(|e| Exit::Store.because(e))?;
    for name in names {
        if args.json {
            println!("{}", serde_json::json!({ "table": name, "ok": true }));
        } else {
            println!("{name}");
        }
    }
    Ok(())
}
