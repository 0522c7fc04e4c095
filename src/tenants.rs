//! Making clinics.

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use vestibule_domain::{Actor, ConfigContext, ConfigValues, PARTICIPANTS_USUAL, TenantConfig};

use crate::ids::Ids;
use crate::store::{Beside, ConfigCommit, PersonText, Store, StoreError, Tenant};

/// The clinic of a server that has none yet, unless told otherwise.
pub(crate) const FIRST: &str = "Clinic";

/// The clinic a command at the terminal is about: of that name, which is made if there is none, or the only one there is.
pub(crate) async fn asked_for(
    store: &Store,
    ids: &Ids,
    name: Option<&str>,
    now: Timestamp,
) -> anyhow::Result<Tenant> {
    let there = store.tenants().await?;
    let name = match (name, &*there) {
        (Some(name), _) => name,
        (None, [only]) => return Ok(only.clone()),
        (None, []) => FIRST,
        (None, several) => {
            let names: Vec<_> = several.iter().map(|tenant| &*tenant.name).collect();
            bail!("--clinic: there are several\n  name one of: {}", names.join(", "));
        }
    };
    let clinic = of_name(store, ids, name, ConfigValues::default(), now).await?;
    if there.iter().all(|tenant| tenant.id != clinic.id) {
        say_made(&clinic.name);
    }
    Ok(clinic)
}

/// Beside what the command prints for programs: a name with a slip in it is noticed.
#[expect(clippy::print_stderr, reason = "this is what the program says on the terminal")]
fn say_made(name: &str) {
    eprintln!("There was no clinic of the name {name}: it is made now.");
}

/// The clinic of that name, made with this configuration if there is none.
pub(crate) async fn of_name(
    store: &Store,
    ids: &Ids,
    name: &str,
    values: ConfigValues,
    now: Timestamp,
) -> anyhow::Result<Tenant> {
    let name = PersonText::parse(name).context("the clinic's name")?;
    let name = name.as_str();
    if let Some(tenant) = store.tenant_by_name(name).await? {
        return Ok(tenant);
    }
    let tenant = Tenant { id: ids.tenant(now), name: name.to_owned(), created_at: now };
    // What nobody chose is not held against the operator's limit: the sessions are.
    let context =
        ConfigContext { now, actor: &Actor::System, participants_limit: PARTICIPANTS_USUAL, logo_hosts: &[] };
    let (config, events) = TenantConfig::create(tenant.id, values, &context)?;
    let commit = ConfigCommit {
        before_version: 0,
        after: &config,
        events: &events,
        actor: &Actor::System,
        now,
        beside: &Beside::default(),
    };
    match store.create_tenant(&tenant, commit).await {
        Ok(()) => Ok(tenant),
        // Another process made it a moment ago.
        Err(StoreError::Exists { .. }) => {
            store.tenant_by_name(name).await?.with_context(|| format!("the clinic {name} came and went"))
        }
        Err(error) => Err(error.into()),
    }
}
