//! `fallback-report`: plays visits on lines that fail in virtual time, and says what became of them, with the aims beside.
//!
//! `--write docs/fallback.md` puts the tables between the two markers of that page, and the chart that it shows into a folder of its name;
//! `--assert` makes a missed aim an error. `--seeds N` plays each from N seeds, `--seed N` from that on; `--only TEXT` those with the text in their name;
//! `--trace` says what the server did about lines in the first run of each, and how long each line that was written took.

mod plot;
mod table;

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use vestibule_sim::page;
use vestibule_visit::scenario::{Seen, all};

const SEEDS: u64 = 10;
const USAGE: &str =
    "fallback-report [--seeds N] [--seed N] [--only TEXT] [--trace] [--write docs/fallback.md] [--assert]";

struct Options {
    seeds: u64,
    first_seed: u64,
    only: String,
    trace: bool,
    write: Option<PathBuf>,
    assert: bool,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let options = Options::read(std::env::args().skip(1))?;
    let mut scenarios = all();
    scenarios.retain(|scenario| scenario.name.contains(&options.only));
    let seeds = options.first_seed..options.first_seed + options.seeds.max(1);
    let mut out = io::stdout();
    let mut rows = Vec::new();
    for scenario in &scenarios {
        let runs: Vec<Seen> = seeds.clone().map(|seed| scenario.run(seed)).collect();
        if options.trace {
            for (at, what) in &runs[0].log {
                writeln!(out, "{:.1}\t{what}", at.as_secs_f64())?;
            }
            for line in &runs[0].written {
                let read =
                    line.read_after.map_or("never".into(), |after| format!("{:.1} s", after.as_secs_f64()));
                writeln!(out, "{:.1}\tthe {:?} wrote: read after {read}", line.at.as_secs_f64(), line.by)?;
            }
        }
        if let (Some(page), Some(name)) = (&options.write, scenario.plot) {
            let folder = page.with_extension("");
            std::fs::create_dir_all(&folder)?;
            plot::chart(scenario, &runs[0]).write(&folder.join(format!("{name}.png")))?;
        }
        rows.push(table::Row::of(scenario, options.first_seed, &runs));
    }
    let text = table::write(&rows, options.seeds.max(1))?;
    out.write_all(text.as_bytes())?;
    if let Some(path) = &options.write {
        page::rewrite(path, "fallback-report", &text)?;
    }
    let met = rows.iter().all(table::Row::is_met);
    Ok(if met || !options.assert { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Options {
    fn read(mut args: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut options = Self {
            seeds: SEEDS,
            first_seed: 1,
            only: String::new(),
            trace: false,
            write: None,
            assert: false,
        };
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(USAGE);
            match arg.as_str() {
                "--seeds" => options.seeds = value()?.parse()?,
                "--seed" => options.first_seed = value()?.parse()?,
                "--only" => options.only = value()?,
                "--trace" => options.trace = true,
                "--write" => options.write = Some(value()?.into()),
                "--assert" => options.assert = true,
                _ => return Err(USAGE.into()),
            }
        }
        Ok(options)
    }
}
