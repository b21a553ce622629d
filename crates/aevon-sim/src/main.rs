//! `make sim SEEDS=1000`: seeds one after another, on a few threads, each with a world of its own.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aevon_sim::fault::Fault;
use aevon_sim::run::{Counted, Failure, run_seed, shrink};
use aevon_sim::shrink::code;
use aevon_sim::world::World;
use clap::Parser;

/// Simulates the whole system; each seed is another list of operations.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds, from 0 on; or a range of them, as 2000..4000.
    #[arg(default_value = "1000")]
    seeds: Seeds,
    /// A deliberate fault, to see in how many seeds it is found; `every` for each in turn.
    #[arg(long)]
    fault: Option<String>,
    /// Worlds at a time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
}

#[derive(Clone, Copy, Debug)]
struct Seeds {
    from: u64,
    to: u64,
}

impl std::str::FromStr for Seeds {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (from, to) = text.split_once("..").unwrap_or(("0", text));
        Ok(Self {
            from: from.parse()?,
            to: to.parse()?,
        })
    }
}

/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(10);
/// Violations after which a run ends.
const MOST_FAILURES: usize = 3;

/// What the threads share.
#[derive(Debug)]
struct Shared {
    next: AtomicU64,
    to: u64,
    is_over: AtomicBool,
    done: Mutex<Done>,
}

#[derive(Debug, Default)]
struct Done {
    seeds: u64,
    counted: Counted,
    failed: Vec<u64>,
}

fn main() -> anyhow::Result<()> {
    let Arguments { seeds, fault, jobs } = Arguments::parse();
    match fault {
        None => simulate(seeds, jobs),
        Some(name) => try_faults(seeds, &name),
    }
}

/// What became of the faults until now.
struct Tried {
    begun: Instant,
    shown: Instant,
    faults: usize,
    found: usize,
    seeds: u64,
    counted: Counted,
}

impl Tried {
    fn summary(&self) -> String {
        format!(
            "{} faults, found {} of them, {} seeds run, {}, {:.1} s",
            self.faults,
            self.found,
            self.seeds,
            self.counted,
            self.begun.elapsed().as_secs_f64()
        )
    }

    /// Notes that a seed was run, and says now and then how far it is.
    fn ran(&mut self, world: &mut World, fault: Fault, seed: u64, found: usize) {
        self.seeds += 1;
        self.counted += std::mem::take(&mut world.counted);
        if self.shown.elapsed() > PROGRESS {
            self.shown = Instant::now();
            let seconds = self.begun.elapsed().as_secs_f64();
            say(&format!(
                "{fault:?}: seed {seed}, found in {found} until now; {}, {seconds:.1} s",
                self.counted
            ));
        }
    }
}

/// Says in which of the seeds each fault is found.
fn try_faults(seeds: Seeds, name: &str) -> anyhow::Result<()> {
    let is_meant = |fault: &Fault| name == "every" || name == format!("{fault:?}");
    anyhow::ensure!(
        Fault::ALL.iter().any(is_meant),
        "there is no fault {name}; there are {:?}, and every",
        Fault::ALL
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut tried = Tried {
        begun: Instant::now(),
        shown: Instant::now(),
        faults: 0,
        found: 0,
        seeds: 0,
        counted: Counted::default(),
    };
    for fault in Fault::ALL.into_iter().filter(is_meant) {
        let is_one = name != "every";
        let found = runtime.block_on(try_fault(fault, seeds, is_one, &mut tried))?;
        tried.faults += 1;
        tried.found += usize::from(!found.is_empty());
        let (many, of) = (found.len(), seeds.to - seeds.from);
        say(&format!(
            "{fault:?}: found in {many} of {of} seeds: {found:?}"
        ));
    }
    say(&tried.summary());
    Ok(())
}

/// The seeds in which a fault is found; of one alone, with what the first shows, made shorter.
async fn try_fault(
    fault: Fault,
    seeds: Seeds,
    is_one: bool,
    tried: &mut Tried,
) -> anyhow::Result<Vec<u64>> {
    let mut world = World::open(Some(fault)).await?;
    let mut found = Vec::new();
    for seed in seeds.from..seeds.to {
        let failure = run_seed(&mut world, seed).await?;
        tried.ran(&mut world, fault, seed, found.len());
        let Some(failure) = failure else {
            continue;
        };
        match (found.is_empty(), is_one) {
            (true, false) => say(&format!("{fault:?}: seed {seed}: {}", failure.violation.0)),
            (true, true) => {
                report(&mut world, seed, failure).await?;
                world.counted = Counted::default();
            }
            (false, _) => {}
        }
        found.push(seed);
    }
    anyhow::ensure!(world.rotten().is_empty(), "{:?}", world.rotten());
    Ok(found)
}

fn simulate(seeds: Seeds, jobs: usize) -> anyhow::Result<()> {
    let begun = Instant::now();
    let shared = Shared {
        next: AtomicU64::new(seeds.from),
        to: seeds.to,
        is_over: AtomicBool::new(false),
        done: Mutex::default(),
    };
    let ran: anyhow::Result<()> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs.max(1))
            .map(|_| scope.spawn(|| work(&shared)))
            .collect();
        let mut shown = Instant::now();
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::sleep(Duration::from_millis(50));
            if shown.elapsed() > PROGRESS {
                shown = Instant::now();
                say(&shared.summary(begun));
            }
        }
        for worker in workers {
            worker
                .join()
                .unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked")))?;
        }
        Ok(())
    });
    say(&shared.summary(begun));
    ran?;
    let failed = &shared.done().failed;
    anyhow::ensure!(failed.is_empty(), "violations in seeds {failed:?}");
    Ok(())
}

impl Shared {
    fn done(&self) -> std::sync::MutexGuard<'_, Done> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn summary(&self, begun: Instant) -> String {
        let done = self.done();
        format!(
            "{} seeds, {}, {} violations, {:.1} s",
            done.seeds,
            done.counted,
            done.failed.len(),
            begun.elapsed().as_secs_f64()
        )
    }
}

/// Takes seed after seed.
fn work(shared: &Shared) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut world = World::open(None).await?;
        while !shared.is_over.load(Ordering::Relaxed) {
            let seed = shared.next.fetch_add(1, Ordering::Relaxed);
            if seed >= shared.to {
                break;
            }
            let failure = run_seed(&mut world, seed).await?;
            {
                let mut done = shared.done();
                done.seeds += 1;
                done.counted += std::mem::take(&mut world.counted);
            }
            if let Some(failure) = failure {
                report(&mut world, seed, failure).await?;
                world.counted = Counted::default();
                let mut done = shared.done();
                done.failed.push(seed);
                let is_over = done.failed.len() >= MOST_FAILURES;
                shared.is_over.store(is_over, Ordering::Relaxed);
            }
        }
        Ok(())
    })
}

/// Says what a seed shows, in the fewest operations.
async fn report(world: &mut World, seed: u64, failure: Failure) -> anyhow::Result<()> {
    say(&format!("seed {seed}: {}", failure.violation.0));
    say(&format!("seed {seed}: making it shorter"));
    let shortest = shrink(world, failure).await?;
    let code = code(&format!("seed_{seed}"), &shortest.operations);
    say(&format!("seed {seed}: {}\n{code}", shortest.violation.0));
    Ok(())
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody reads on: then nothing is said.
    let _ = writeln!(out, "{text}");
}
