//! The first administrator of each clinic, who has nobody to ask for a link but the person who started the server.

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use vestibule_domain::{Actor, ConfigValues};

use super::{Asked, Attempts, LoginName, NewLink, StaffAccountId};
use crate::config::PublicUrl;
use crate::ids::Ids;
use crate::rights::Role;
use crate::store::{Outcome, Page, PersonText, StaffAccount, Store, StoreError, Tenant};
use crate::tenants;

/// What they sign in with, and are called until they say otherwise.
const LOGIN: &str = "admin";
const DISPLAY_NAME: &str = "Administrator";
/// Names that are tried: clinics on one server that nobody has set up.
const NAMES_MAX: u32 = 1_000;

/// Prints a link for each clinic where nobody can sign in. A start that nobody followed up prints another.
pub(crate) async fn invite_first_admins(
    store: &Store,
    ids: &Ids,
    origin: &PublicUrl,
    now: Timestamp,
) -> anyhow::Result<()> {
    let mut tenants = store.tenants().await?;
    if tenants.is_empty() {
        tenants.push(tenants::of_name(store, ids, tenants::FIRST, ConfigValues::default(), now).await?);
    }
    let several = tenants.len() > 1;
    for tenant in tenants {
        if store.has_admin(tenant.id).await? {
            continue;
        }
        let link = invite_first_admin(store, ids, &tenant, now).await?;
        print_first(&link.url(origin), several.then_some(&*tenant.name));
    }
    Ok(())
}

async fn invite_first_admin(
    store: &Store,
    ids: &Ids,
    tenant: &Tenant,
    now: Timestamp,
) -> anyhow::Result<NewLink> {
    let asked = Asked { now, request: None };
    if let Some(account) = waiting(store, tenant).await? {
        return Ok(NewLink::make(store, &account, Actor::System, &asked).await?);
    }
    for number in 1..=NAMES_MAX {
        let login = if number == 1 { LOGIN.to_owned() } else { format!("{LOGIN}-{number}") };
        let account = StaffAccount {
            id: ids.staff_account(now),
            tenant: tenant.id,
            login: LoginName::parse(&login)?,
            display_name: PersonText::parse(DISPLAY_NAME)?,
            role: Role::Admin,
            provider_ref: None,
            disabled: false,
            password: None,
            attempts: Attempts::default(),
            created_at: now,
        };
        let (link, kept) = NewLink::fresh(now);
        let beside = asked.beside(Actor::System, "staff.created", &account);
        match store.create_account(&account, kept, beside).await {
            Ok(Outcome::Done(())) => return Ok(link),
            Ok(_) => bail!("{} has as many accounts as it may, and none can sign in", tenant.name),
            // Another clinic's administrator has it.
            Err(StoreError::Exists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bail!("no login name is left for an administrator of {}", tenant.name)
}

/// The administrator whom an earlier start has made, and who did not come.
async fn waiting(store: &Store, tenant: &Tenant) -> anyhow::Result<Option<StaffAccount>> {
    let first: Page<StaffAccountId> = Page { after: None, limit: 100 };
    let accounts = store.accounts(tenant.id, first).await.context("the accounts of staff")?;
    Ok(accounts.into_iter().find(StaffAccount::is_admin))
}

#[expect(clippy::print_stdout, reason = "this is what the program says on the terminal")]
fn print_first(url: &str, clinic: Option<&str>) {
    let clinic = clinic.map_or_else(String::new, |name| format!("; for {name}"));
    println!("Set up the first administrator: {url} (good for 24 hours, once{clinic})");
}

/// Prints a link that was asked for at the terminal.
#[expect(clippy::print_stdout, reason = "this is what the program says on the terminal")]
pub(crate) fn print_link(url: &str) {
    println!("Set the password: {url} (good for 24 hours, once)");
}
