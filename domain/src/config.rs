//! The tenant's configuration: one per tenant, versioned.
//!
//! Of a secret the domain knows whether it is set and since when, never its value: that lies sealed in the store. A
//! session keeps a copy of the policy it was made under, so nothing decided here alters a running visit.
//!
//! `values` has what can be configured and its bounds, `decide` the rules of changing it.

mod color;
mod decide;
mod field;
mod url;
mod values;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use color::{ColorError, CssColor};
pub use decide::{
    ConfigCommand, ConfigContext, ConfigFault, ConfigInvariantError, ConfigRejection, SecretChange,
    SecretChanges,
};
pub use field::ConfigField;
pub use url::{HttpsUrl, UrlError};
pub use values::{ConfigValues, Retention, SecretMark, WEBHOOKS_MAX, WebhookEndpoint};

use crate::id::{TenantId, WebhookId};
use crate::policy::SessionPolicy;

/// One thing that happened to a configuration. No value of a secret.
///
/// Stored for good as JSON with its `type`: a variant or a field is added, never renamed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ConfigEvent {
    /// It exists, without any secret.
    Created {
        /// Whose it is.
        tenant: TenantId,
        /// All of it.
        values: Box<ConfigValues>,
        /// When.
        at: Timestamp,
    },
    /// It changed.
    Updated {
        /// What of it.
        changed: Vec<ConfigField>,
        /// All of it, as it is now.
        values: Box<ConfigValues>,
        /// Whether the secret for Jitsi's tokens is set, and since when.
        jitsi_jwt_secret: SecretMark,
        /// When.
        at: Timestamp,
    },
}

impl ConfigEvent {
    /// The `type` of its JSON.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Created { .. } => "created",
            Self::Updated { .. } => "updated",
        }
    }
}

/// The state of a configuration as plain data, for a store. Only [`TenantConfig::from_stored`] makes one of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredConfig {
    /// Whose it is.
    pub tenant: TenantId,
    /// How many commands were committed, its making being the first.
    pub version: u64,
    /// What is configured.
    pub values: ConfigValues,
    /// Whether the secret for Jitsi's tokens is set, and since when.
    pub jitsi_jwt_secret: SecretMark,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// The configuration of a tenant. A value that exists fulfils the invariants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantConfig {
    row: StoredConfig,
}

/// Getters.
impl TenantConfig {
    /// Whose it is.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.row.tenant
    }

    /// How many commands were committed.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.row.version
    }

    /// What is configured.
    #[must_use]
    pub fn values(&self) -> &ConfigValues {
        &self.row.values
    }

    /// The rules sessions are made under from now.
    #[must_use]
    pub fn policy(&self) -> &SessionPolicy {
        &self.row.values.policy
    }

    /// The webhook of that identifier.
    #[must_use]
    pub fn webhook(&self, id: WebhookId) -> Option<&WebhookEndpoint> {
        self.row.values.webhooks.iter().find(|webhook| webhook.id == id)
    }

    /// Whether the secret for Jitsi's tokens is set, and since when.
    #[must_use]
    pub fn jitsi_jwt_secret(&self) -> SecretMark {
        self.row.jitsi_jwt_secret
    }

    /// When it was made.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        self.row.created_at
    }

    /// When it last changed.
    #[must_use]
    pub fn updated_at(&self) -> Timestamp {
        self.row.updated_at
    }
}

/// Folding events into the state. No rule is here.
impl TenantConfig {
    /// The configuration that [`ConfigEvent::Created`] made, at version 0: [`Self::commit`] counts the command that made
    /// it. `None` of any other event.
    #[must_use]
    pub fn from_created(event: &ConfigEvent) -> Option<Self> {
        let ConfigEvent::Created { tenant, values, at } = event else { return None };
        let row = StoredConfig {
            tenant: *tenant,
            version: 0,
            values: (**values).clone(),
            jitsi_jwt_secret: SecretMark::Absent,
            created_at: *at,
            updated_at: *at,
        };
        Some(Self { row })
    }

    /// Folds one event, and leaves the version.
    ///
    /// # Panics
    /// On the making of another tenant's configuration.
    pub fn apply(&mut self, event: &ConfigEvent) {
        match event {
            // What it brings is there since `from_created`; it still counts as part of the first command.
            ConfigEvent::Created { tenant, .. } => {
                assert_eq!(*tenant, self.row.tenant, "another tenant's event");
            }
            ConfigEvent::Updated { values, jitsi_jwt_secret, at, .. } => {
                self.row.values = (**values).clone();
                self.row.jitsi_jwt_secret = *jitsi_jwt_secret;
                self.row.updated_at = *at;
            }
        }
    }

    /// Folds the events of one command: the version grows by one, or stays if nothing happened.
    pub fn commit(&mut self, events: &[ConfigEvent]) {
        for event in events {
            self.apply(event);
        }
        if !events.is_empty() {
            self.row.version += 1;
        }
    }
}

/// Between a store and here.
impl TenantConfig {
    /// The configuration a store kept.
    ///
    /// # Errors
    /// The first invariant the row breaks: it was not written by this crate, or damaged since. The hosts allowed for the
    /// logo are none: the operator may have changed them since.
    pub fn from_stored(row: StoredConfig) -> Result<Self, ConfigInvariantError> {
        if row.version == 0 {
            return Err(ConfigInvariantError::NoVersion);
        }
        decide::check(&row.values)?;
        Ok(Self { row })
    }

    /// All of the state, for a store.
    #[must_use]
    pub fn to_stored(&self) -> StoredConfig {
        self.row.clone()
    }
}
