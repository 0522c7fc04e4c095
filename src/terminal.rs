//! Accounts and keys from the terminal, beside a server that may be running: for the person who runs it and has locked
//! themselves out, or has to let a first program in.

use anyhow::{Context as _, bail};
use vestibule_domain::Actor;

use crate::accounts::{self, Asked, NewLink};
use crate::config::{Config, CreateKey, KeyCommand, PublicUrl, StaffCommand};
use crate::data_dir::DataDir;
use crate::ids::Ids;
use crate::keys::{self, NewKey};
use crate::store::{AuditEntry, Beside, Outcome, PersonText, Store};
use crate::{clock, tenants};

/// `vestibule staff …`.
pub(crate) async fn staff(config: &Config, command: StaffCommand) -> anyhow::Result<()> {
    let StaffCommand::Link { login } = command;
    config.validate()?;
    let data = DataDir::existing(&config.data)?;
    let origin = origin(config, &data)?;
    let store = Store::open(&config.location(&data), Ids::system()).await?;
    let account = store.account_by_login(&login).await?.context("--login: nobody signs in with this name")?;
    if account.disabled {
        bail!("--login: this account is disabled\n  an administrator can enable it");
    }
    let asked = Asked { now: clock::now(), request: None };
    let link = NewLink::make(&store, &account, Actor::System, &asked).await?;
    store.close().await;
    accounts::print_link(&link.url(&origin));
    Ok(())
}

/// `vestibule key …`.
pub(crate) async fn key(config: &Config, command: KeyCommand) -> anyhow::Result<()> {
    let KeyCommand::Create(CreateKey { clinic, name, scopes, expires_at }) = command;
    config.validate()?;
    let data = DataDir::open(&config.data)?;
    let now = clock::now();
    if expires_at.is_some_and(|at| at <= now) {
        bail!("--expires-at: this time is over");
    }
    let name = PersonText::parse(&name).context("--name")?;
    let ids = Ids::system();
    let store = Store::open(&config.location(&data), ids.clone()).await?;
    let clinic = tenants::asked_for(&store, &ids, clinic.as_deref(), now).await?;
    let tenant = clinic.id;
    let new = NewKey { tenant, name, scopes: scopes.into_iter().collect(), expires_at, created_by: None };
    let (text, kept) = keys::fresh(new, &ids, now);
    let audit = AuditEntry {
        tenant,
        at: now,
        actor: Actor::System,
        action: "api_key.created".into(),
        subject_kind: "api_key",
        subject: kept.id.to_string(),
        session: None,
    };
    let made = store.create_api_key(&kept, Beside { audit: vec![audit], ..Beside::default() }).await?;
    store.close().await;
    if made != Outcome::Done(()) {
        bail!("{} has as many API keys as it may\n  revoke one first", clinic.name);
    }
    print(&text.reveal());
    Ok(())
}

/// What links begin with: as the running server says, unless told otherwise.
pub(crate) fn origin(config: &Config, data: &DataDir) -> anyhow::Result<PublicUrl> {
    let told = config.public_url.clone().or_else(|| data.noted_origin());
    match told {
        Some(origin) => Ok(origin),
        None if config.listen.port() == 0 => bail!("--listen: links need a port\n  give --public-url"),
        None => Ok(config.origin(config.listen)),
    }
}

/// The key alone, for a script to take.
#[expect(clippy::print_stdout, reason = "this is what the program says on the terminal")]
fn print(key: &str) {
    println!("{key}");
}
