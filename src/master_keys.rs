//! The master keys at the terminal: what is still under older ones, and a new one.

use serde::Serialize;

use crate::config::{Config, MasterKeysCommand};
use crate::data_dir::DataDir;
use crate::ids::Ids;
use crate::store::{SealedCounts, Store};

/// What `keys status` says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    /// The number of the key that seals.
    current_key: u32,
    /// What is sealed under another.
    under_older_keys: Older,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Older {
    secrets: u64,
    visit_texts: u64,
    images: u64,
    thread_lines: u64,
    total: u64,
}

/// Carries out what was asked for. The server may be running meanwhile.
pub(crate) async fn run(config: &Config, command: MasterKeysCommand) -> anyhow::Result<()> {
    let data = DataDir::existing(&config.data)?;
    match command {
        MasterKeysCommand::Rotate => rotate(&data),
        MasterKeysCommand::Status { json } => {
            let current = data.master_keys()?.current();
            let store = Store::open(&config.location(&data), Ids::system()).await?;
            let counts = store.sealed_not_under(current).await?;
            store.close().await;
            print(current, counts, json)
        }
    }
}

#[expect(clippy::print_stdout, reason = "this is what the program says on the terminal")]
fn rotate(data: &DataDir) -> anyhow::Result<()> {
    let id = data.add_master_key()?;
    println!("Master key {id} is the current one, in {}.", data.master_keys_file().display());
    println!(
        "Make a backup of that file, and start the server anew: from then on it seals under this key, and what is"
    );
    println!(
        "under an older one is sealed anew. Older keys stay until `vestibule keys status` counts nothing under them."
    );
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is what the program says on the terminal")]
fn print(current_key: u32, counts: SealedCounts, json: bool) -> anyhow::Result<()> {
    let total = counts.total();
    let SealedCounts { secrets, visit_texts, images, thread_lines } = counts;
    if json {
        let under_older_keys = Older { secrets, visit_texts, images, thread_lines, total };
        println!("{}", serde_json::to_string_pretty(&Status { current_key, under_older_keys })?);
        return Ok(());
    }
    println!("Master key {current_key} seals.");
    println!(
        "Under older keys: {secrets} secrets, {visit_texts} texts of visits, {images} images, {thread_lines} lines of threads."
    );
    if total == 0 {
        println!(
            "Older keys can be taken out of the file, a day after the last rotation: answers are kept that long."
        );
    }
    Ok(())
}
