//! The rules of making and changing a configuration.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{
    ConfigEvent, ConfigField, ConfigValues, Retention, SecretMark, TenantConfig, WEBHOOKS_MAX,
    WebhookEndpoint,
};
use crate::actor::Actor;
use crate::id::{TenantId, WebhookId};
use crate::kind::VideoBackend;
use crate::policy::{PARTICIPANTS_LEAST, PolicyError, PolicyValues};
use crate::tier::ThresholdFault;
use crate::time::whole_millisecond;

/// What can be asked of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigCommand {
    /// Puts `values` in place of those there are. For staff and the system.
    Update {
        /// All of them. Which secrets are set is taken from `secrets`, not from here.
        values: Box<ConfigValues>,
        /// What becomes of the secrets.
        secrets: SecretChanges,
    },
}

/// What becomes of the secrets. The values of new ones go to the store by another way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretChanges {
    /// Of the one for Jitsi's tokens.
    pub jitsi_jwt_secret: SecretChange,
    /// Of the webhooks'. One not named is kept.
    pub webhooks: BTreeMap<WebhookId, SecretChange>,
}

/// What becomes of a secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecretChange {
    /// It stays as it is.
    #[default]
    Keep,
    /// There is a new one.
    Set,
    /// There is none any more.
    Clear,
}

impl SecretChange {
    fn of(self, mark: SecretMark, at: Timestamp) -> SecretMark {
        match self {
            Self::Keep => mark,
            Self::Set => SecretMark::Set { at },
            Self::Clear => SecretMark::Absent,
        }
    }
}

/// What a decision is made in view of, beside the state.
#[derive(Clone, Copy, Debug)]
pub struct ConfigContext<'a> {
    /// The time it is.
    pub now: Timestamp,
    /// Who asks. That they are who they say is checked before.
    pub actor: &'a Actor,
    /// The most participants the operator lets any tenant allow in one session.
    pub participants_limit: u16,
    /// The hosts a logo may come from, of the operator's choice. None: there is no logo.
    pub logo_hosts: &'a [String],
}

/// Why a command was not carried out. The state is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigRejection {
    /// Who asks may not.
    #[error("this is not theirs to ask")]
    NotPermitted,
    /// A value that cannot be.
    #[error("{field}: {fault}")]
    Invalid {
        /// Of which field.
        field: ConfigField,
        /// What is wrong.
        fault: ConfigFault,
    },
}

impl ConfigRejection {
    /// The stable code, which becomes the problem's `type` in the API.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotPermitted => "not_permitted",
            Self::Invalid { .. } => "invalid_config",
        }
    }

    /// The field it is about, if it is about one.
    #[must_use]
    pub const fn field(&self) -> Option<ConfigField> {
        match self {
            Self::NotPermitted => None,
            Self::Invalid { field, .. } => Some(*field),
        }
    }
}

impl From<ThresholdFault> for ConfigRejection {
    fn from(fault: ThresholdFault) -> Self {
        Self::Invalid { field: ConfigField::FallbackThresholds, fault: fault.into() }
    }
}

impl From<PolicyError> for ConfigRejection {
    fn from(error: PolicyError) -> Self {
        let field = ConfigField::of_policy(error.field).expect("every field of a policy has its name here");
        let PolicyError { value, min, max, .. } = error;
        Self::Invalid { field, fault: ConfigFault::OutOfBounds { what: field.as_str(), value, min, max } }
    }
}

/// What is wrong with a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigFault {
    /// A number out of its bounds.
    #[error("{what} is {value}, and must be {min} to {max}")]
    OutOfBounds {
        /// Which, as the API spells it.
        what: &'static str,
        /// What it was.
        value: u32,
        /// The least allowed.
        min: u32,
        /// The most allowed.
        max: u32,
    },
    /// Thresholds that cannot be.
    #[error(transparent)]
    Thresholds(#[from] ThresholdFault),
    /// The backend is Jitsi, and no server is named.
    #[error("the jitsi backend needs a server URL")]
    Missing,
    /// The operator allows no logo from there.
    #[error("no logo may come from this host")]
    HostNotAllowed,
    /// More webhooks than fit.
    #[error("more than {max} webhooks")]
    TooManyWebhooks {
        /// How many fit.
        max: usize,
    },
    /// Two webhooks of one identifier.
    #[error("two webhooks share the identifier {0}")]
    WebhookTwice(WebhookId),
    /// A webhook that names a type twice.
    #[error("the webhook {0} names an event type twice")]
    EventTypeTwice(WebhookId),
    /// A secret for a webhook that is none of these.
    #[error("there is a secret for {0}, which is no webhook")]
    NoSuchWebhook(WebhookId),
}

/// The invariant a stored configuration breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigInvariantError {
    /// Version 0 is before it was made.
    #[error("the version is 0")]
    NoVersion,
    /// A value that cannot be.
    #[error(transparent)]
    Invalid(#[from] ConfigRejection),
}

impl TenantConfig {
    /// Makes a configuration, at version 1, without any secret. For staff and the system.
    ///
    /// # Errors
    /// The first value that cannot be.
    pub fn create(
        tenant: TenantId,
        values: ConfigValues,
        ctx: &ConfigContext<'_>,
    ) -> Result<(Self, Vec<ConfigEvent>), ConfigRejection> {
        authorize(ctx)?;
        check(&values)?;
        check_participants(&values, ctx)?;
        check_logo(&values, ctx)?;
        let mut values = Box::new(values);
        for webhook in &mut values.webhooks {
            webhook.secret = SecretMark::Absent;
        }
        let event = ConfigEvent::Created { tenant, values, at: whole_millisecond(ctx.now) };
        let mut config = Self::from_created(&event).expect("the event is Created");
        let events = vec![event];
        config.commit(&events);
        Ok((config, events))
    }

    /// What `command` leads to: the events to fold and to keep. None if all is so already.
    ///
    /// # Errors
    /// Why not. The state is not touched either way.
    pub fn decide(
        &self,
        command: &ConfigCommand,
        ctx: &ConfigContext<'_>,
    ) -> Result<Vec<ConfigEvent>, ConfigRejection> {
        authorize(ctx)?;
        let ConfigCommand::Update { values, secrets } = command;
        check(values)?;
        // What was allowed once stays until it is changed: the operator's limits must not stand in the way of the rest.
        if values.policy.max_participants != self.policy().max_participants {
            check_participants(values, ctx)?;
        }
        if values.branding_logo_url != self.values().branding_logo_url {
            check_logo(values, ctx)?;
        }
        check_secrets(values, secrets)?;

        let at = whole_millisecond(ctx.now);
        let mut values = values.clone();
        for webhook in &mut values.webhooks {
            let before = self.webhook(webhook.id).map(|known| known.secret).unwrap_or_default();
            webhook.secret = webhook_change(secrets, webhook.id).of(before, at);
        }
        let jitsi_jwt_secret = secrets.jitsi_jwt_secret.of(self.jitsi_jwt_secret(), at);
        let changed = self.changed(&values, jitsi_jwt_secret, secrets);
        if changed.is_empty() {
            return Ok(Vec::new());
        }
        Ok(vec![ConfigEvent::Updated { changed, values, jitsi_jwt_secret, at }])
    }

    fn changed(
        &self,
        values: &ConfigValues,
        jitsi_jwt_secret: SecretMark,
        secrets: &SecretChanges,
    ) -> Vec<ConfigField> {
        let before = self.values();
        // A secret set anew is a change, even within the millisecond it was last set in.
        let jitsi_secret =
            secrets.jitsi_jwt_secret == SecretChange::Set || jitsi_jwt_secret != self.jitsi_jwt_secret();
        let webhooks = before.webhooks != values.webhooks
            || secrets.webhooks.values().any(|change| *change == SecretChange::Set);
        let others = [
            (ConfigField::VideoBackend, before.video_backend != values.video_backend),
            (ConfigField::JitsiServerUrl, before.jitsi_server_url != values.jitsi_server_url),
            (ConfigField::JitsiJwtSecret, jitsi_secret),
            (ConfigField::BrandingLogoUrl, before.branding_logo_url != values.branding_logo_url),
            (
                ConfigField::BrandingPrimaryColor,
                before.branding_primary_color != values.branding_primary_color,
            ),
            (ConfigField::Webhooks, webhooks),
            (ConfigField::Retention, before.retention != values.retention),
        ];
        let mut changed = policy_changes(&before.policy, &values.policy);
        changed.extend(others.into_iter().filter_map(|(field, differs)| differs.then_some(field)));
        // In the order of the fields, whatever the order of the comparison: the list is read by people too.
        changed.sort_unstable();
        changed
    }
}

fn authorize(ctx: &ConfigContext<'_>) -> Result<(), ConfigRejection> {
    match ctx.actor {
        Actor::Staff(_) | Actor::System => Ok(()),
        Actor::Participant(_) | Actor::Timer => Err(ConfigRejection::NotPermitted),
    }
}

/// What holds of every configuration, whoever asks and whatever the operator allows.
pub(super) fn check(values: &ConfigValues) -> Result<(), ConfigRejection> {
    if values.video_backend == VideoBackend::Jitsi && values.jitsi_server_url.is_none() {
        return Err(invalid(ConfigField::JitsiServerUrl, ConfigFault::Missing));
    }
    Retention::new(values.retention).map_err(|fault| invalid(ConfigField::Retention, fault))?;
    check_webhooks(&values.webhooks).map_err(|fault| invalid(ConfigField::Webhooks, fault))
}

fn check_webhooks(webhooks: &[WebhookEndpoint]) -> Result<(), ConfigFault> {
    if webhooks.len() > WEBHOOKS_MAX {
        return Err(ConfigFault::TooManyWebhooks { max: WEBHOOKS_MAX });
    }
    let mut ids = BTreeSet::new();
    for webhook in webhooks {
        if !ids.insert(webhook.id) {
            return Err(ConfigFault::WebhookTwice(webhook.id));
        }
        let types: BTreeSet<_> = webhook.event_types.iter().collect();
        if types.len() < webhook.event_types.len() {
            return Err(ConfigFault::EventTypeTwice(webhook.id));
        }
    }
    Ok(())
}

fn check_participants(values: &ConfigValues, ctx: &ConfigContext<'_>) -> Result<(), ConfigRejection> {
    let (asked, limit) = (values.policy.max_participants, ctx.participants_limit);
    if asked <= limit {
        return Ok(());
    }
    let (value, min, max) = (asked.into(), PARTICIPANTS_LEAST.into(), limit.into());
    let field = ConfigField::MaxParticipants;
    Err(invalid(field, ConfigFault::OutOfBounds { what: field.as_str(), value, min, max }))
}

fn check_logo(values: &ConfigValues, ctx: &ConfigContext<'_>) -> Result<(), ConfigRejection> {
    let allowed = values
        .branding_logo_url
        .as_ref()
        .is_none_or(|url| ctx.logo_hosts.iter().any(|host| host.eq_ignore_ascii_case(url.host())));
    if allowed { Ok(()) } else { Err(invalid(ConfigField::BrandingLogoUrl, ConfigFault::HostNotAllowed)) }
}

/// A secret that is set must be somebody's. To keep or to clear that of a webhook that goes is nothing to refuse.
fn check_secrets(values: &ConfigValues, secrets: &SecretChanges) -> Result<(), ConfigRejection> {
    let nobodys = secrets.webhooks.iter().find(|(id, change)| {
        **change == SecretChange::Set && !values.webhooks.iter().any(|webhook| webhook.id == **id)
    });
    match nobodys {
        Some((id, _)) => Err(invalid(ConfigField::Webhooks, ConfigFault::NoSuchWebhook(*id))),
        None => Ok(()),
    }
}

fn webhook_change(secrets: &SecretChanges, id: WebhookId) -> SecretChange {
    secrets.webhooks.get(&id).copied().unwrap_or_default()
}

fn policy_changes(before: &PolicyValues, after: &PolicyValues) -> Vec<ConfigField> {
    // Taken apart without `..`, so that a new field does not compile before it is compared.
    let PolicyValues {
        max_participants,
        session_grace_minutes_before,
        session_grace_minutes_after,
        no_show_minutes,
        abandon_minutes,
        grace_reconnect_seconds,
        text_grace_minutes,
        auto_admit_on_provider_join,
        admit_interpreters_with_provider,
        admit_observers_with_provider,
        recording_allowed,
        fallback,
    } = after;
    let fields = [
        (ConfigField::MaxParticipants, before.max_participants != *max_participants),
        (
            ConfigField::SessionGraceMinutesBefore,
            before.session_grace_minutes_before != *session_grace_minutes_before,
        ),
        (
            ConfigField::SessionGraceMinutesAfter,
            before.session_grace_minutes_after != *session_grace_minutes_after,
        ),
        (ConfigField::NoShowMinutes, before.no_show_minutes != *no_show_minutes),
        (ConfigField::AbandonMinutes, before.abandon_minutes != *abandon_minutes),
        (ConfigField::GraceReconnectSeconds, before.grace_reconnect_seconds != *grace_reconnect_seconds),
        (ConfigField::TextGraceMinutes, before.text_grace_minutes != *text_grace_minutes),
        (
            ConfigField::AutoAdmitOnProviderJoin,
            before.auto_admit_on_provider_join != *auto_admit_on_provider_join,
        ),
        (
            ConfigField::AdmitInterpretersWithProvider,
            before.admit_interpreters_with_provider != *admit_interpreters_with_provider,
        ),
        (
            ConfigField::AdmitObserversWithProvider,
            before.admit_observers_with_provider != *admit_observers_with_provider,
        ),
        (ConfigField::RecordingAllowed, before.recording_allowed != *recording_allowed),
        (ConfigField::FallbackThresholds, before.fallback != *fallback),
    ];
    fields.into_iter().filter_map(|(field, differs)| differs.then_some(field)).collect()
}

fn invalid(field: ConfigField, fault: ConfigFault) -> ConfigRejection {
    ConfigRejection::Invalid { field, fault }
}
