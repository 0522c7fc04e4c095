//! `media-report`: plays conversations on bad lines in virtual time, and says what became of them, with the aims beside.
//!
//! `--write docs/media.md` puts the tables between the two markers of that page and the charts into a folder of its name;
//! `--assert` makes a missed aim an error. `--short` plays what tells most; `--seeds N` each from N seeds, `--seed N` from
//! this on; `--only TEXT` those with the text in their name; `--trace` says what was seen of each tenth of a second of one run.

mod plot;
mod table;
mod trace;

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;

use vestibule_sim::scenario::{Figures, Form, Scenario, Seen, Verdict, all};

use crate::table::Row;

const SEEDS_LONG: u64 = 3;
const FIRST_SEED: u64 = 1;
const USAGE: &str = "media-report [--short] [--seeds N] [--seed N] [--only TEXT] [--trace] [--write docs/media.md] [--assert]";

/// What is asked for.
struct Options {
    form: Form,
    seeds: Option<u64>,
    first_seed: u64,
    only: String,
    trace: bool,
    write: Option<PathBuf>,
    assert: bool,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let options = Options::read(std::env::args().skip(1))?;
    let short = options.form == Form::Short;
    let seeds = options.seeds.unwrap_or(if short { 1 } else { SEEDS_LONG }).max(1);
    let mut scenarios = all(options.form);
    scenarios.retain(|scenario| scenario.name.contains(&options.only));
    if options.trace {
        for scenario in &scenarios {
            io::stdout().write_all(trace::write(scenario, options.first_seed)?.as_bytes())?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let played = play(&scenarios, options.first_seed, seeds);
    let rows: Vec<Row> = scenarios
        .iter()
        .zip(&played)
        .map(|(scenario, seen)| row(scenario, options.first_seed, &seen.figures))
        .collect();
    let text = table::write(&rows, seeds)?;
    io::stdout().write_all(text.as_bytes())?;
    if let Some(page) = &options.write {
        let folder = page.with_extension("");
        std::fs::create_dir_all(&folder)?;
        let mut charts = String::new();
        for (scenario, seen) in scenarios.iter().zip(&played) {
            let Some(name) = scenario.plot else { continue };
            plot::chart(scenario, seen.first.watched()).write(&folder.join(format!("{name}.png")))?;
            let folder = folder.file_name().unwrap_or_default().to_string_lossy();
            charts.push_str(&format!("\n![{}]({folder}/{name}.png)\n", scenario.name));
        }
        vestibule_sim::page::rewrite(page, "media-report", &format!("{text}{charts}"))?;
    }
    let met = rows.iter().flat_map(|row| &row.verdicts).all(|verdict| verdict.met);
    Ok(if met || !options.assert { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Options {
    fn read(mut args: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut options = Self {
            form: Form::Long,
            seeds: None,
            first_seed: FIRST_SEED,
            only: String::new(),
            trace: false,
            write: None,
            assert: false,
        };
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(USAGE);
            match arg.as_str() {
                "--short" => options.form = Form::Short,
                "--seeds" => options.seeds = Some(value()?.parse()?),
                "--trace" => options.trace = true,
                "--seed" => options.first_seed = value()?.parse()?,
                "--only" => options.only = value()?,
                "--write" => options.write = Some(value()?.into()),
                "--assert" => options.assert = true,
                _ => return Err(USAGE.into()),
            }
        }
        Ok(options)
    }
}

/// All runs of one scenario.
struct Played {
    figures: Vec<Figures>,
    /// The run of the first seed, to be drawn.
    first: Seen,
}

/// Plays each scenario from each seed, on all cores.
fn play(scenarios: &[Scenario], first_seed: u64, seeds: u64) -> Vec<Played> {
    let next = Mutex::new(scenarios.iter().enumerate());
    let played = Mutex::new(Vec::new());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let taken = next.lock().expect("nobody panics with it").next();
                    let Some((at, scenario)) = taken else { return };
                    let mut first = None;
                    let mut figures = Vec::new();
                    for seed in first_seed..first_seed + seeds {
                        let seen = scenario.run(seed);
                        figures.push(Figures::of(scenario, &seen));
                        first.get_or_insert(seen);
                    }
                    let first = first.unwrap_or_default();
                    played.lock().expect("nobody panics with it").push((at, Played { figures, first }));
                }
            });
        }
    });
    let mut played = played.into_inner().expect("nobody panics with it");
    played.sort_by_key(|(at, _)| *at);
    played.into_iter().map(|(_, played)| played).collect()
}

/// An aim is met if every run meets it; what is told is the first run that does not.
fn row(scenario: &Scenario, first_seed: u64, figures: &[Figures]) -> Row {
    let verdicts = scenario.aims.iter().map(|aim| {
        let missed = (first_seed..).zip(figures).find_map(|(seed, figures)| {
            let verdict = figures.judge(*aim);
            let text = format!("{} (seed {seed})", verdict.text);
            (!verdict.met).then_some(Verdict { text, ..verdict })
        });
        missed.unwrap_or_else(|| figures[0].judge(*aim))
    });
    let worst = figures.iter().skip(1).fold(figures[0].clone(), Figures::worse);
    Row { name: scenario.name.clone(), worst, verdicts: verdicts.collect() }
}
