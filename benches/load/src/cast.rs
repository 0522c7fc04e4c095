//! What everybody sends: the models of a microphone and of a camera's layers, by the command line.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::cli::Options;
use crate::client::{Kind, SourceId};
use crate::media::{MediaLibrary, Model, OpusModel, Vp8Model};

/// Frames a second of a camera.
const FRAMES_PER_SECOND: u32 = 30;
/// The highest layer of a camera.
const SIZE: (u16, u16) = (1280, 720);

/// A microphone and a camera.
#[derive(Clone, Debug)]
pub struct Cast {
    /// What is said.
    pub audio: Model,
    /// What is seen, from the lowest layer to the highest; empty without video.
    pub video: Vec<Model>,
    /// Bit rates of the layers, as far as they are known.
    pub video_kbps: Vec<u32>,
    /// The recordings among them.
    pub library: Arc<MediaLibrary>,
    sources: Arc<AtomicU32>,
}

impl Cast {
    /// By the command line.
    ///
    /// # Errors
    ///
    /// A file cannot be used; in words.
    pub fn new(options: &Options) -> Result<Self, String> {
        let mut library = MediaLibrary::seeded(options.seed);
        let video = load(&mut library, options.video_file.as_deref(), Kind::Video, "IVF file with VP8")?;
        let audio = load(&mut library, options.audio_file.as_deref(), Kind::Audio, "Ogg file with Opus")?;
        // Of a recording there is one layer, and its bit rate is what it is.
        let is_made_up = video.is_none() || options.video == 0;
        let video_kbps = if is_made_up { layers(options.video, options.layers) } else { Vec::new() };
        Ok(Self {
            audio: audio.unwrap_or(Model::Opus(OpusModel { dtx: !options.no_dtx })),
            video: video.filter(|_| !is_made_up).map_or_else(|| video_models(&video_kbps), |one| vec![one]),
            video_kbps,
            library: Arc::new(library),
            sources: Arc::default(),
        })
    }

    /// A number no other microphone or camera has. Who comes again has another: its packets are counted anew.
    #[must_use]
    pub fn next_source(&self) -> SourceId {
        SourceId(self.sources.fetch_add(1, Ordering::Relaxed))
    }
}

/// The recording in a file, if one was named.
fn load(
    library: &mut MediaLibrary,
    file: Option<&Path>,
    kind: Kind,
    what: &str,
) -> Result<Option<Model>, String> {
    let Some(file) = file else { return Ok(None) };
    let id = library.load(file).map_err(|error| format!("{}: {error}", file.display()))?;
    if library.kind(id) != Some(kind) {
        return Err(format!("{}: an {what} is needed", file.display()));
    }
    Ok(Some(Model::Recording(id)))
}

/// The shares browsers give to the layers of 720p: 150, 500 and 1500 kbit/s.
fn layers(highest_kbps: u32, count: u8) -> Vec<u32> {
    if highest_kbps == 0 {
        return Vec::new();
    }
    let all = [highest_kbps / 10, highest_kbps / 3, highest_kbps];
    all[all.len() - usize::from(count).min(all.len())..].iter().map(|rate| (*rate).max(1)).collect()
}

/// Each layer has half the width and height of the one above it.
fn video_models(kbps: &[u32]) -> Vec<Model> {
    let model = |(below, &rate): (usize, &u32)| {
        Model::Vp8(Vp8Model {
            rate_bps: rate.saturating_mul(1000),
            frames_per_second: FRAMES_PER_SECOND,
            width: SIZE.0 >> below,
            height: SIZE.1 >> below,
        })
    };
    let mut models: Vec<_> = kbps.iter().rev().enumerate().map(model).collect();
    models.reverse();
    models
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    fn cast(line: &str) -> Result<Cast, String> {
        let line = ["vestibule-load", "visits", "1"].into_iter().chain(line.split_ascii_whitespace());
        Cast::new(&Cli::parse_from(line).options)
    }

    #[test]
    fn without_files_it_is_made_up() {
        let cast = cast("--no-dtx --layers 2").unwrap();
        assert_eq!(cast.audio, Model::Opus(OpusModel { dtx: false }));
        assert_eq!((cast.video.len(), cast.video_kbps), (2, vec![500, 1500]));
    }

    #[test]
    fn a_file_has_to_be_there_and_of_the_right_kind() {
        let missing = cast("--video-file /nowhere.ivf").unwrap_err();
        assert!(missing.starts_with("/nowhere.ivf: "), "{missing}");
        let other = concat!("--audio-file ", env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert!(cast(other).unwrap_err().ends_with("the file is neither IVF nor Ogg"));
    }

    #[test]
    fn the_layers_are_a_browsers() {
        assert_eq!(layers(1500, 3), [150, 500, 1500]);
        assert_eq!(layers(1500, 2), [500, 1500]);
        assert_eq!(layers(800, 1), [800]);
        assert!(layers(0, 3).is_empty());
        assert_eq!(video_models(&[150, 500, 1500]), Vp8Model::SIMULCAST.map(Model::Vp8));
    }
}
