//! The texts that patients agree to, and their version: a consent is to one version of one text.

use vestibule_domain::{ConsentType, ParticipantId, VirtualSession};
use vestibule_signaling::wire::ConsentForm;

/// The version of the texts in force. Another text is another version.
pub(crate) const VERSION: &str = "2026-11";

/// The consents still to be asked of a participant.
pub(crate) fn forms(session: &VirtualSession, participant: ParticipantId) -> Vec<ConsentForm> {
    session.consents_needed(participant).into_iter().map(form).collect()
}

fn form(consent_type: ConsentType) -> ConsentForm {
    let (required, title, text): (_, _, &[&str]) = match consent_type {
        ConsentType::Telehealth => (
            true,
            "Your visit by video",
            &[
                "You are about to talk to your care team over the internet, by video, sound or text. A visit by video is \
                 voluntary: you may stop at any time and ask to be seen in person instead.",
                "Picture and sound are encrypted and go through your clinic's own server. Nothing is recorded unless you \
                 are asked and agree first.",
                "A visit by video has limits: your care team cannot examine you by hand, and the line may fail. If it \
                 does, the clinic will contact you. In an emergency, call your local emergency number.",
                "Find a place where nobody listens in whom you do not want to. Your care team tells you who else takes \
                 part, such as an interpreter.",
            ],
        ),
        ConsentType::Recording => (
            false,
            "Recording of your visit",
            &[
                "Your care team would like to record this visit for your medical record. You may refuse: the visit takes \
                 place all the same. You may also change your mind at any time, and recording stops at once.",
            ],
        ),
    };
    ConsentForm {
        consent_type,
        version: VERSION.into(),
        required,
        title: title.into(),
        text: text.iter().map(|&paragraph| paragraph.to_owned()).collect(),
    }
}
