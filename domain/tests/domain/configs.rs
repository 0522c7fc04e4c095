//! The configuration of a tenant: what may be configured, who may, and that no secret is ever in it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;
use vestibule_domain::{
    Actor, ConfigCommand, ConfigContext, ConfigEvent, ConfigField, ConfigInvariantError, ConfigRejection,
    ConfigValues, CssColor, FallbackThresholds, HttpsUrl, PARTICIPANTS_USUAL, PolicyValues, PublishedType,
    Retention, SecretChange, SecretChanges, SecretMark, SessionPolicy, StoredConfig, TenantConfig, TenantId,
    ThresholdValues, UrlError, VideoBackend, WEBHOOKS_MAX, WebhookEndpoint, WebhookId, published_config,
};

use crate::world::{minute, morning, patient, policy, staff};

/// One configuration and who changes it. Each command that is carried out is checked against what always holds.
pub(crate) struct Clinic {
    pub(crate) config: TenantConfig,
    pub(crate) commits: Vec<Vec<ConfigEvent>>,
    now: Timestamp,
    participants_limit: u16,
    logo_hosts: Vec<String>,
}

fn tenant() -> TenantId {
    TenantId::new(morning(), [9; 10])
}

fn url(text: &str) -> HttpsUrl {
    HttpsUrl::parse(text).unwrap()
}

fn webhook_id(number: u8) -> WebhookId {
    WebhookId::new(morning(), [number; 10])
}

fn webhook(number: u8) -> WebhookEndpoint {
    WebhookEndpoint {
        id: webhook_id(number),
        url: url("https://hooks.example.org/in?key=k"),
        event_types: vec![PublishedType::SessionEnded],
        enabled: true,
        secret: SecretMark::Absent,
    }
}

fn secrets(jitsi_jwt_secret: SecretChange, webhooks: &[(u8, SecretChange)]) -> SecretChanges {
    let webhooks = webhooks.iter().map(|(number, change)| (webhook_id(*number), *change));
    SecretChanges { jitsi_jwt_secret, webhooks: webhooks.collect() }
}

impl Clinic {
    pub(crate) fn new() -> Self {
        Self::of(ConfigValues::default()).unwrap()
    }

    fn of(values: ConfigValues) -> Result<Self, ConfigRejection> {
        let logo_hosts = vec!["cdn.example.org".to_owned()];
        let participants_limit = PARTICIPANTS_USUAL;
        let ctx =
            ConfigContext { now: morning(), actor: &staff(), participants_limit, logo_hosts: &logo_hosts };
        let (config, events) = TenantConfig::create(tenant(), values, &ctx)?;
        let clinic = Self { config, commits: vec![events], now: morning(), participants_limit, logo_hosts };
        clinic.check();
        Ok(clinic)
    }

    /// A configuration in which one update changed every field there is.
    pub(crate) fn with_everything_changed() -> Self {
        let mut clinic = Self::new();
        let policy = policy(|policy| {
            *policy = PolicyValues {
                max_participants: 4,
                session_grace_minutes_before: 20,
                session_grace_minutes_after: 40,
                no_show_minutes: 20,
                abandon_minutes: 40,
                grace_reconnect_seconds: 90,
                text_grace_minutes: 60,
                auto_admit_on_provider_join: true,
                admit_interpreters_with_provider: true,
                admit_observers_with_provider: true,
                recording_allowed: true,
                fallback: FallbackThresholds::new(ThresholdValues {
                    video_min_kbps: 200,
                    ..ThresholdValues::default()
                })
                .unwrap(),
            };
        });
        let values = ConfigValues {
            policy,
            video_backend: VideoBackend::Jitsi,
            jitsi_server_url: Some(url("https://meet.example.org")),
            branding_logo_url: Some(url("https://cdn.example.org/logo.svg")),
            branding_primary_color: Some("#0a7".parse().unwrap()),
            webhooks: vec![webhook(1)],
            retention: Retention { recording_days: 30, ..Retention::default() },
        };
        clinic.now = minute(5);
        clinic.must(values, secrets(SecretChange::Set, &[(1, SecretChange::Set)]));
        clinic
    }

    /// An update, carried out. Everything that holds for every command is checked here.
    fn ask(
        &mut self,
        actor: &Actor,
        values: ConfigValues,
        secrets: SecretChanges,
    ) -> Result<Vec<ConfigEvent>, ConfigRejection> {
        let before = self.config.clone();
        let command = ConfigCommand::Update { values: Box::new(values), secrets };
        let ctx = ConfigContext {
            now: self.now,
            actor,
            participants_limit: self.participants_limit,
            logo_hosts: &self.logo_hosts,
        };
        let events = self.config.decide(&command, &ctx)?;
        self.config.commit(&events);
        if events.is_empty() {
            assert_eq!(self.config, before, "no event, no change");
        } else {
            assert_eq!(self.config.version(), before.version() + 1, "one version a command");
            assert_eq!(self.config.updated_at(), self.now);
            self.commits.push(events.clone());
        }
        self.check();
        Ok(events)
    }

    fn check(&self) {
        let text = serde_json::to_string(&self.config.to_stored()).unwrap();
        let read: StoredConfig = serde_json::from_str(&text).unwrap();
        assert_eq!(TenantConfig::from_stored(read).as_ref(), Ok(&self.config), "the store gives it back");

        let text = serde_json::to_string(&self.commits).unwrap();
        let commits: Vec<Vec<ConfigEvent>> = serde_json::from_str(&text).unwrap();
        let mut replayed = TenantConfig::from_created(&commits[0][0]).unwrap();
        commits.iter().for_each(|commit| replayed.commit(commit));
        assert_eq!(replayed, self.config, "the events give it back");
        for event in commits.concat() {
            assert_eq!(serde_json::to_value(&event).unwrap()["type"], event.type_name());
        }
    }

    /// The fields a change of staff's changed.
    fn must(&mut self, values: ConfigValues, secrets: SecretChanges) -> Vec<ConfigField> {
        let events = self.ask(&staff(), values, secrets).unwrap();
        match &events[..] {
            [ConfigEvent::Updated { changed, .. }] => changed.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn values(&self) -> ConfigValues {
        self.config.values().clone()
    }

    /// What a change is refused for: its code, its field and the message.
    fn refused(&mut self, change: impl FnOnce(&mut ConfigValues)) -> (ConfigField, String) {
        let mut values = self.values();
        change(&mut values);
        let rejection = self.ask(&staff(), values.clone(), SecretChanges::default()).unwrap_err();
        assert_eq!(rejection.code(), "invalid_config");
        assert_eq!(Self::of(values).err(), Some(rejection.clone()), "nor is it made like that");
        (rejection.field().unwrap(), rejection.to_string())
    }
}

#[test]
fn a_tenant_that_never_chose_has_the_defaults() {
    let clinic = Clinic::new();
    assert_eq!(clinic.config.version(), 1);
    assert_eq!(clinic.config.tenant(), tenant());
    assert_eq!((clinic.config.created_at(), clinic.config.updated_at()), (morning(), morning()));
    assert_eq!(*clinic.config.policy(), SessionPolicy::default());
    assert_eq!(clinic.config.values().video_backend, VideoBackend::Embedded);
    assert_eq!(clinic.config.jitsi_jwt_secret(), SecretMark::Absent);
    assert_eq!(serde_json::from_value::<ConfigValues>(json!({})).unwrap(), ConfigValues::default());
    assert_eq!(published_config(&clinic.config, &clinic.commits[0][0]), None);
}

#[test]
fn every_field_is_told_by_its_name_in_the_api() {
    let clinic = Clinic::with_everything_changed();
    let ConfigEvent::Updated { changed, .. } = &clinic.commits[1][0] else { panic!() };
    assert_eq!(changed, ConfigField::ALL);
    for field in ConfigField::ALL {
        assert_eq!(serde_json::to_value(field).unwrap(), field.as_str());
    }
    let policy = serde_json::to_value(SessionPolicy::default()).unwrap();
    let names: Vec<_> = policy.as_object().unwrap().keys().collect();
    assert!(names.iter().all(|name| ConfigField::of_policy(name).is_some()), "{names:?}");
    assert_eq!(ConfigField::of_policy("webhooks"), None);
    let error = SessionPolicy::new(PolicyValues { no_show_minutes: 0, ..PolicyValues::default() });
    let rejection = ConfigRejection::from(error.unwrap_err());
    assert_eq!(rejection.field(), Some(ConfigField::NoShowMinutes));
    assert!(rejection.to_string().starts_with("noShowMinutes: "), "{rejection}");
}

#[test]
fn nothing_changed_is_no_event_and_one_change_is_one_field() {
    let mut clinic = Clinic::with_everything_changed();
    assert_eq!(clinic.ask(&staff(), clinic.values(), SecretChanges::default()), Ok(vec![]));
    let mut values = clinic.values();
    values.retention.audit_days = 7;
    assert_eq!(clinic.must(values, SecretChanges::default()), [ConfigField::Retention]);
    let values = ConfigValues { policy: policy(|policy| policy.no_show_minutes = 99), ..clinic.values() };
    assert!(clinic.must(values, SecretChanges::default()).contains(&ConfigField::NoShowMinutes));
}

#[test]
fn staff_and_the_system_configure_and_nobody_else() {
    let values = || ConfigValues { branding_primary_color: Some(CssColor::BLACK), ..ConfigValues::default() };
    for actor in [staff(), Actor::System] {
        assert_eq!(Clinic::new().ask(&actor, values(), SecretChanges::default()).unwrap().len(), 1);
    }
    for actor in [Actor::Timer, Actor::Participant(patient())] {
        let rejection = Clinic::new().ask(&actor, values(), SecretChanges::default()).unwrap_err();
        assert_eq!((rejection.code(), rejection.field()), ("not_permitted", None));
        let ctx = ConfigContext {
            now: morning(),
            actor: &actor,
            participants_limit: PARTICIPANTS_USUAL,
            logo_hosts: &[],
        };
        assert_eq!(TenantConfig::create(tenant(), values(), &ctx).unwrap_err().code(), "not_permitted");
    }
}

#[test]
fn jitsi_needs_its_server() {
    let mut clinic = Clinic::new();
    let (field, _) = clinic.refused(|values| values.video_backend = VideoBackend::Jitsi);
    assert_eq!(field, ConfigField::JitsiServerUrl);
}

#[test]
fn the_operator_limits_the_participants_and_what_was_allowed_once_stays() {
    let mut clinic = Clinic::new();
    let of = |max_participants| policy(|policy| policy.max_participants = max_participants);
    let (field, why) = clinic.refused(|values| values.policy = of(21));
    assert_eq!(field, ConfigField::MaxParticipants);
    assert_eq!(why, "maxParticipants: maxParticipants is 21, and must be 2 to 20");

    clinic.participants_limit = 500;
    let values = ConfigValues { policy: of(400), ..clinic.values() };
    assert_eq!(clinic.must(values, SecretChanges::default()), [ConfigField::MaxParticipants]);
    clinic.participants_limit = 30;
    let values =
        ConfigValues { retention: Retention { audit_days: 7, ..Retention::default() }, ..clinic.values() };
    assert_eq!(
        clinic.must(values, SecretChanges::default()),
        [ConfigField::Retention],
        "all else can be changed"
    );
    assert_eq!(clinic.config.policy().max_participants, 400, "and it still loads");
    let values = ConfigValues { policy: of(31), ..clinic.values() };
    assert_eq!(clinic.ask(&staff(), values, SecretChanges::default()).unwrap_err().field(), Some(field));

    let kept = clinic.config.policy().clone();
    assert_eq!(kept.clone().within(30).max_participants, 30, "sessions are held to the limit of their day");
    assert_eq!(kept.within(1).max_participants, 2);
}

#[test]
fn a_logo_comes_from_a_host_the_operator_allows() {
    let mut clinic = Clinic::new();
    let logo = |text: &str| Some(url(text));
    for text in [
        "https://example.org/logo.svg",
        "https://cdn.example.org.evil.example/logo.svg",
        "https://evilcdn.example.org/logo.svg",
        "https://evil.example/cdn.example.org",
    ] {
        let (field, _) = clinic.refused(|values| values.branding_logo_url = logo(text));
        assert_eq!(field, ConfigField::BrandingLogoUrl, "{text}");
    }
    let values =
        ConfigValues { branding_logo_url: logo("https://CDN.example.org:8443/a"), ..clinic.values() };
    assert_eq!(clinic.must(values, SecretChanges::default()), [ConfigField::BrandingLogoUrl]);

    // Stored is stored: what the operator allows now is asked of the next logo, and stands in nothing else's way.
    clinic.logo_hosts.clear();
    assert!(TenantConfig::from_stored(clinic.config.to_stored()).is_ok());
    let mut values = clinic.values();
    values.retention.audit_days = 77;
    assert_eq!(clinic.must(values, SecretChanges::default()), [ConfigField::Retention]);
    let values = ConfigValues { branding_logo_url: logo("https://cdn.example.org/b"), ..clinic.values() };
    let rejection = clinic.ask(&staff(), values, SecretChanges::default()).unwrap_err();
    assert_eq!(rejection.field(), Some(ConfigField::BrandingLogoUrl));
}

#[test]
fn who_is_lost_is_waited_for_until_they_are_in_writing_at_the_least() {
    let values = |grace_reconnect_seconds, audio_hold_ms| PolicyValues {
        grace_reconnect_seconds,
        fallback: FallbackThresholds::new(ThresholdValues { audio_hold_ms, ..ThresholdValues::default() })
            .unwrap(),
        ..PolicyValues::default()
    };
    let refused = |values| ConfigRejection::from(SessionPolicy::new(values).unwrap_err());
    let rejection = refused(values(15, 15_000));
    assert_eq!(rejection.field(), Some(ConfigField::GraceReconnectSeconds));
    let message = "graceReconnectSeconds: graceReconnectSeconds is 15, and must be 16 to 600";
    assert_eq!(rejection.to_string(), message);
    assert!(refused(values(60, 60_000)).to_string().contains("61 to 600"));
    assert!(refused(values(4, 500)).to_string().contains("5 to 600"));
    for (grace, hold) in [(16, 15_000), (5, 4_999), (61, 60_000)] {
        assert!(SessionPolicy::new(values(grace, hold)).is_ok(), "{grace} s after {hold} ms");
    }
}

#[test]
fn thresholds_have_bounds_and_the_way_back_lies_above() {
    let refused = |change: fn(&mut ThresholdValues)| {
        let mut values = ThresholdValues::default();
        change(&mut values);
        let rejection = ConfigRejection::from(FallbackThresholds::new(values).unwrap_err());
        assert_eq!(rejection.field(), Some(ConfigField::FallbackThresholds));
        rejection.to_string()
    };
    let message = refused(|fallback| fallback.video_min_kbps = 49);
    assert_eq!(message, "fallbackThresholds: videoMinKbps is 49, and must be 50 to 5000");
    let message = refused(|fallback| fallback.video_resume_kbps = 150);
    assert_eq!(message, "fallbackThresholds: videoResumeKbps must be above videoMinKbps");
    assert!(refused(|fallback| fallback.audio_resume_kbps = 16).contains("audioResumeKbps"));
    assert!(refused(|fallback| fallback.audio_min_kbps = 5).contains("audioMinKbps"));
    assert!(refused(|fallback| fallback.audio_resume_kbps = 257).contains("audioResumeKbps"));
    assert!(refused(|fallback| fallback.video_resume_kbps = 10_001).contains("videoResumeKbps"));
    assert!(refused(|fallback| fallback.video_hold_ms = 499).contains("videoHoldMs"));
    assert!(refused(|fallback| fallback.audio_hold_ms = 60_001).contains("audioHoldMs"));
    assert!(refused(|fallback| fallback.video_loss_max_percent = 0).contains("videoLossMaxPercent"));
    assert!(refused(|fallback| fallback.audio_loss_max_percent = 96).contains("audioLossMaxPercent"));
    assert!(refused(|fallback| fallback.rtt_max_ms = 99).contains("rttMaxMs"));
    assert!(refused(|fallback| fallback.resume_loss_max_percent = 51).contains("resumeLossMaxPercent"));
    assert!(refused(|fallback| fallback.probe_interval_ms = 999).contains("probeIntervalMs"));
    assert!(refused(|fallback| fallback.retry_after_ms = 3_600_001).contains("retryAfterMs"));
    // What is no line for a voice is none for a picture.
    let message = refused(|fallback| {
        (fallback.video_min_kbps, fallback.audio_min_kbps, fallback.audio_resume_kbps) = (60, 60, 61)
    });
    assert_eq!(message, "fallbackThresholds: videoMinKbps must be above audioMinKbps");
    let message = refused(|fallback| fallback.audio_loss_max_percent = 12);
    assert_eq!(message, "fallbackThresholds: audioLossMaxPercent must be above videoLossMaxPercent");
    let usual = FallbackThresholds::new(ThresholdValues::default()).unwrap();
    assert_eq!(usual, FallbackThresholds::default());
    let stored = serde_json::to_string(&usual).unwrap();
    let spoiled = stored.replace("\"video_min_kbps\":150", "\"video_min_kbps\":1");
    assert_ne!(spoiled, stored);
    assert!(serde_json::from_str::<FallbackThresholds>(&spoiled).is_err());
}

#[test]
fn retention_is_a_day_to_a_hundred_years_and_each_for_itself() {
    let mut clinic = Clinic::new();
    type FieldOf = fn(&mut Retention) -> &mut u16;
    let fields: [(&str, FieldOf); 4] = [
        ("sessionDays", |retention| &mut retention.session_days),
        ("contentDays", |retention| &mut retention.content_days),
        ("auditDays", |retention| &mut retention.audit_days),
        ("recordingDays", |retention| &mut retention.recording_days),
    ];
    for (name, field_of) in fields {
        for days in [0, 36_501] {
            let (field, message) = clinic.refused(|values| *field_of(&mut values.retention) = days);
            assert_eq!(field, ConfigField::Retention);
            assert_eq!(message, format!("retention: {name} is {days}, and must be 1 to 36500"));
        }
        for days in [1, 36_500] {
            let mut retention = Retention::default();
            *field_of(&mut retention) = days;
            assert_eq!(Retention::new(retention), Ok(retention), "whatever the others are");
        }
    }
}

#[test]
fn ten_webhooks_with_names_of_their_own() {
    let mut clinic = Clinic::new();
    let many = u8::try_from(WEBHOOKS_MAX).unwrap() + 1;
    let (field, message) = clinic.refused(|values| values.webhooks = (0..many).map(webhook).collect());
    assert_eq!((field, message.as_str()), (ConfigField::Webhooks, "webhooks: more than 10 webhooks"));
    assert!(clinic.refused(|values| values.webhooks = vec![webhook(1), webhook(1)]).1.contains("share"));
    let twice = vec![PublishedType::SessionEnded, PublishedType::SessionEnded];
    let twice = WebhookEndpoint { event_types: twice, ..webhook(1) };
    assert!(clinic.refused(|values| values.webhooks = vec![twice]).1.contains("twice"));
    let all = WebhookEndpoint { event_types: PublishedType::ALL.to_vec(), ..webhook(9) };
    let webhooks = (0..9).map(webhook).chain([all]).collect();
    clinic.must(ConfigValues { webhooks, ..clinic.values() }, SecretChanges::default());
}

#[test]
fn a_secret_is_set_kept_and_cleared_and_only_its_mark_is_known() {
    let mut clinic = Clinic::new();
    let with = |clinic: &Clinic| ConfigValues { webhooks: vec![webhook(1), webhook(2)], ..clinic.values() };
    let set = SecretChange::Set;

    clinic.now = minute(1);
    let changed = clinic.must(with(&clinic), secrets(set, &[(1, set)]));
    assert_eq!(changed, [ConfigField::JitsiJwtSecret, ConfigField::Webhooks]);
    let at = |minutes| SecretMark::Set { at: minute(minutes) };
    assert_eq!(clinic.config.jitsi_jwt_secret(), at(1));
    let mark = |clinic: &Clinic, number| clinic.config.webhook(webhook_id(number)).unwrap().secret;
    assert_eq!((mark(&clinic, 1), mark(&clinic, 2)), (at(1), SecretMark::Absent));

    clinic.now = minute(2);
    let kept = clinic.ask(&staff(), with(&clinic), SecretChanges::default());
    assert_eq!(kept, Ok(vec![]), "kept, though the command has no mark");
    assert_eq!(clinic.must(clinic.values(), secrets(set, &[])), [ConfigField::JitsiJwtSecret]);
    assert_eq!(clinic.config.jitsi_jwt_secret(), at(2));
    let again = clinic.must(clinic.values(), secrets(set, &[(1, set)]));
    assert_eq!(again, [ConfigField::JitsiJwtSecret, ConfigField::Webhooks], "anew, in the same millisecond");

    let clear = SecretChange::Clear;
    let changed = clinic.must(clinic.values(), secrets(clear, &[(1, clear), (2, clear)]));
    assert_eq!(changed, [ConfigField::JitsiJwtSecret, ConfigField::Webhooks]);
    assert_eq!(
        (clinic.config.jitsi_jwt_secret(), mark(&clinic, 1)),
        (SecretMark::Absent, SecretMark::Absent)
    );
    let cleared = clinic.ask(&staff(), clinic.values(), secrets(clear, &[(1, clear), (7, clear)]));
    assert_eq!(cleared, Ok(vec![]), "so already, and of one that is not there too");
}

#[test]
fn no_command_can_claim_a_secret_that_is_not_there() {
    let claimed = WebhookEndpoint { secret: SecretMark::Set { at: minute(0) }, ..webhook(1) };
    let values = ConfigValues { webhooks: vec![claimed], ..ConfigValues::default() };
    let mut clinic = Clinic::of(values.clone()).unwrap();
    assert_eq!(clinic.config.webhook(webhook_id(1)).unwrap().secret, SecretMark::Absent);
    assert_eq!(clinic.ask(&staff(), values, SecretChanges::default()), Ok(vec![]));

    let nobodys = secrets(SecretChange::Keep, &[(2, SecretChange::Set)]);
    let rejection = clinic.ask(&staff(), clinic.values(), nobodys).unwrap_err();
    assert_eq!(rejection.field(), Some(ConfigField::Webhooks));
}

#[test]
fn a_webhook_that_went_and_came_back_has_no_secret() {
    let mut clinic = Clinic::with_everything_changed();
    clinic.must(ConfigValues { webhooks: vec![], ..clinic.values() }, SecretChanges::default());
    clinic.must(ConfigValues { webhooks: vec![webhook(1)], ..clinic.values() }, SecretChanges::default());
    assert_eq!(clinic.config.webhook(webhook_id(1)).unwrap().secret, SecretMark::Absent);
}

#[test]
fn a_damaged_row_is_no_configuration() {
    let row = Clinic::new().config.to_stored();
    let none = StoredConfig { version: 0, ..row.clone() };
    assert_eq!(TenantConfig::from_stored(none), Err(ConfigInvariantError::NoVersion));
    let mut jitsi = row;
    jitsi.values.video_backend = VideoBackend::Jitsi;
    assert!(matches!(TenantConfig::from_stored(jitsi), Err(ConfigInvariantError::Invalid(_))));
}

#[test]
fn addresses_are_https_with_a_host_and_nothing_doubtful() {
    for (text, host) in [
        ("https://example.org", "example.org"),
        ("https://example.org/", "example.org"),
        ("HTTPS://EXAMPLE.org:8443/A?b=C%20d", "example.org"),
        ("https://localhost?x", "localhost"),
        ("https://192.0.2.1:1/x@y", "192.0.2.1"),
        ("https://[2001:DB8::1]:443/", "[2001:db8::1]"),
        ("https://xn--bcher-kva.example", "xn--bcher-kva.example"),
    ] {
        let url = HttpsUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(url.host(), host);
        assert_eq!(url.as_str().parse(), Ok(url.clone()), "as it is written it reads");
        assert_eq!(serde_json::to_value(&url).unwrap(), url.to_string());
    }
    assert_eq!(HttpsUrl::parse("HTTPS://A.example/B").unwrap().as_str(), "https://a.example/B");

    let long = format!("https://a.example/{}", "x".repeat(2048));
    let label = format!("https://{}.example", "x".repeat(64));
    let name = format!("https://{}example", "abcdefg.".repeat(32));
    for (text, error) in [
        (long.as_str(), UrlError::TooLong),
        ("", UrlError::NotHttps),
        ("https:/", UrlError::NotHttps),
        ("http://example.org", UrlError::NotHttps),
        ("javascript:alert(1)//", UrlError::NotHttps),
        ("//example.org", UrlError::NotHttps),
        ("https://", UrlError::Host),
        ("https:///path", UrlError::Host),
        ("https://?q", UrlError::Host),
        ("https://:443/", UrlError::Host),
        ("https://a..b", UrlError::Host),
        ("https://example.org.", UrlError::Host),
        ("https://-a.example", UrlError::Host),
        ("https://a-.example", UrlError::Host),
        ("https://a_b.example", UrlError::Host),
        ("https://a%2eb", UrlError::Host),
        (label.as_str(), UrlError::Host),
        (name.as_str(), UrlError::Host),
        ("https://127.1", UrlError::Host),
        ("https://2130706433", UrlError::Host),
        ("https://0x7f.0.0.0x1", UrlError::Host),
        ("https://0177.0.0.1", UrlError::Host),
        ("https://256.0.0.1", UrlError::Host),
        ("https://[::1", UrlError::Host),
        ("https://[::1]x", UrlError::Host),
        ("https://[fe80::1%251]", UrlError::Host),
        ("https://[]", UrlError::Host),
        ("https://user@example.org", UrlError::UserInfo),
        ("https://example.org@evil.example", UrlError::UserInfo),
        ("https://user:word@example.org", UrlError::UserInfo),
        ("https://example.org:", UrlError::Port),
        ("https://example.org:0", UrlError::Port),
        ("https://example.org:65536", UrlError::Port),
        ("https://example.org:+443", UrlError::Port),
        ("https://example.org:443:443", UrlError::Port),
        ("https://example.org#a", UrlError::Fragment),
        ("https://example.org/a#b", UrlError::Fragment),
        (r"https://example.org\@evil.example", UrlError::Character),
        (" https://example.org", UrlError::Character),
        ("https://example.org/a b", UrlError::Character),
        ("https://example.org/a\n", UrlError::Character),
        ("https://exämple.org", UrlError::Character),
        ("https://example.org/%2", UrlError::Character),
        ("https://example.org/%zz", UrlError::Character),
        ("https://example.org/\"onload=", UrlError::Character),
    ] {
        assert_eq!(HttpsUrl::parse(text), Err(error), "{text}");
        assert!(serde_json::from_value::<HttpsUrl>(json!(text)).is_err());
    }
    let hook = url("https://hooks.example.org/in?key=k");
    assert_eq!(format!("{hook:?}"), "HttpsUrl(https://hooks.example.org/…)", "a path may let one in");
}

#[test]
fn colours_are_hexadecimal_and_text_on_them_is_black_or_white() {
    let color = |text: &str| text.parse::<CssColor>();
    assert_eq!(color("#0A7").unwrap().to_string(), "#00aa77");
    assert_eq!(color("#00aa77"), color("#0a7"));
    assert_eq!(serde_json::to_value(color("#FFF").unwrap()).unwrap(), "#ffffff");
    for text in ["", "#", "0a7", "#0a", "#00aa7", "#00aa777", "#00aa7788", "#ggg", "red", "#0a7 ", "#é00"] {
        assert!(color(text).is_err(), "{text}");
    }
    assert_eq!(color("#ffff00").unwrap().text_color(), CssColor::BLACK);
    assert_eq!(color("#00008b").unwrap().text_color(), CssColor::WHITE);
    assert!((CssColor::BLACK.contrast(&CssColor::WHITE) - 21.0).abs() < 1e-9);
    assert!((CssColor::WHITE.contrast(&CssColor::WHITE) - 1.0).abs() < 1e-9);
    // The lightest grey that WCAG's own examples let stand on white, and the one beyond it.
    assert!(color("#767676").unwrap().contrast(&CssColor::WHITE) >= 4.5);
    assert!(color("#777777").unwrap().contrast(&CssColor::WHITE) < 4.5);
}

fn values() -> impl Strategy<Value = ConfigValues> {
    let backend = prop_oneof![Just(VideoBackend::Embedded), Just(VideoBackend::Jitsi)];
    let server = proptest::option::weighted(0.7, Just(url("https://meet.example.org")));
    let logo = prop_oneof![
        3 => Just(None),
        3 => Just(Some(url("https://cdn.example.org/a"))),
        1 => Just(Some(url("https://other.example/a"))),
    ];
    let color = proptest::option::of(prop_oneof![Just(CssColor::BLACK), Just(CssColor::WHITE)]);
    let webhooks = proptest::collection::vec((0_u8..4, any::<bool>()), 0..4);
    let numbers = (1_u16..4, 100_u32..320, 1_u16..30);
    (backend, server, logo, color, webhooks, numbers).prop_map(
        |(video_backend, jitsi_server_url, branding_logo_url, branding_primary_color, webhooks, numbers)| {
            let (days, video_min_kbps, max_participants) = numbers;
            let fallback = ThresholdValues { video_min_kbps, ..ThresholdValues::default() };
            let fallback = FallbackThresholds::new(fallback).unwrap_or_default();
            let policy = PolicyValues { max_participants, fallback, ..PolicyValues::default() };
            let webhook = |(number, enabled)| WebhookEndpoint { enabled, ..webhook(number) };
            ConfigValues {
                policy: SessionPolicy::new(policy).unwrap_or_default(),
                video_backend,
                jitsi_server_url,
                branding_logo_url,
                branding_primary_color,
                webhooks: webhooks.into_iter().map(webhook).collect(),
                retention: Retention { session_days: days - 1, ..Retention::default() },
            }
        },
    )
}

fn any_secrets() -> impl Strategy<Value = SecretChanges> {
    let change = || prop_oneof![4 => Just(SecretChange::Keep), 1 => Just(SecretChange::Set), 1 => Just(SecretChange::Clear)];
    (change(), proptest::collection::btree_map(0_u8..4, change(), 0..2)).prop_map(
        |(jitsi_jwt_secret, webhooks)| {
            let named = webhooks.into_iter().map(|(number, change)| (webhook_id(number), change));
            SecretChanges { jitsi_jwt_secret, webhooks: named.collect::<BTreeMap<_, _>>() }
        },
    )
}

fn anybody() -> impl Strategy<Value = Actor> {
    prop_oneof![
        6 => Just(staff()),
        3 => Just(Actor::System),
        1 => Just(Actor::Timer),
        1 => Just(Actor::Participant(patient())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_configured_what_always_holds_does(
        steps in proptest::collection::vec((anybody(), values(), any_secrets(), 0_i64..3), 0..30),
    ) {
        let mut clinic = Clinic::new();
        for (actor, values, secrets, minutes) in steps {
            clinic.now += jiff::SignedDuration::from_mins(minutes);
            // `Clinic::ask` checks versions, the stored form and the fold.
            let before = clinic.config.clone();
            if let Ok(events) = clinic.ask(&actor, values, secrets) {
                for event in &events {
                    let ConfigEvent::Updated { changed, .. } = event else { panic!("{event:?}") };
                    prop_assert!(!changed.is_empty());
                }
            } else {
                prop_assert_eq!(&clinic.config, &before);
            }
        }
    }

    #[test]
    fn no_text_of_a_stranger_upsets_the_parsers(text in "(https://)?\\PC{0,60}") {
        if let Ok(url) = HttpsUrl::parse(&text) {
            prop_assert_eq!(HttpsUrl::parse(url.as_str()), Ok(url));
        }
        let _ = text.parse::<CssColor>();
    }

    #[test]
    fn text_on_any_colour_can_be_read(red: u8, green: u8, blue: u8) {
        let color: CssColor = format!("#{red:02x}{green:02x}{blue:02x}").parse().unwrap();
        prop_assert!(color.contrast(&color.text_color()) >= 4.5);
    }
}
