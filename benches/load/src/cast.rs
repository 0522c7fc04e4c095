//! What everybody sends: the models of a microphone and of a camera's layers, by the command line.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::cli::Options;
use crate::client::SourceId;
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
        let library = MediaLibrary::default();
        let video_kbps = layers(options.video, options.layers);
        Ok(Self {
            audio: Model::Opus(OpusModel { dtx: !options.no_dtx }),
            video: video_models(&video_kbps),
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
    use super::*;

    #[test]
    fn the_layers_are_a_browsers() {
        assert_eq!(layers(1500, 3), [150, 500, 1500]);
        assert_eq!(layers(1500, 2), [500, 1500]);
        assert_eq!(layers(800, 1), [800]);
        assert!(layers(0, 3).is_empty());
        assert_eq!(video_models(&[150, 500, 1500]), Vp8Model::SIMULCAST.map(Model::Vp8));
    }
}
