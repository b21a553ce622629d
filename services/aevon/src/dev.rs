//! `aevon dev`: the whole system in one process behind one port, with a Postgres of its own.

#![expect(
    clippy::print_stdout,
    reason = "how it starts is told to whoever looks"
)]

use crate::openapi;
use aevon_postgres::{Server, ServerOptions};
use aevon_schema::migrate::{self, MigrateOptions};
use aevon_service::health::Readiness;
use aevon_service::http::{self as shell, HttpOptions, Routes};
use aevon_service::metrics::Metrics;
use aevon_service::settings::{AuthMode, LogFormat, Secret, Settings};
use aevon_service::shutdown::Shutdown;
use aggregator_svc::{Aggregator, READY_DATABASE, READY_RULES};
use anyhow::Context;
use clap::Args;
use ingest_svc::Ingest;
use projection_svc::Projection;
use std::path::PathBuf;
use std::time::Duration;

mod demo;
mod sample;

pub(crate) const EXAMPLES: &str = "Examples:\n  \
    aevon dev                                          http://127.0.0.1:8080, sample rules and data\n  \
    aevon dev --rules rules/ --no-sample --port 9090\n  \
    AEVON_DATABASE__URL=postgres://… aevon dev         in a Postgres that is there\n\n\
    Everybody may do everything, on 127.0.0.1 alone. Exit codes: 0 stopped by Ctrl-C, 1 failed, 2 wrong usage.";

/// How to run the system here.
#[derive(Args, Debug)]
pub(crate) struct DevArgs {
    /// Where Postgres keeps its data between runs
    #[arg(long, value_name = "DIR", default_value = ".aevon/dev")]
    data_dir: PathBuf,
    /// The folder of rules
    #[arg(long, value_name = "DIR", default_value = "examples/rules")]
    rules: PathBuf,
    /// The folder of schemas
    #[arg(long, value_name = "DIR", default_value = "examples/schemas")]
    schemas: PathBuf,
    /// The port of all three services, on 127.0.0.1
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Loads no sample events
    #[arg(long)]
    no_sample: bool,
    /// Streams a live workload of three tenants, so that there is something to look at
    #[arg(long)]
    demo: bool,
}

/// The database of the private Postgres.
const DATABASE: &str = "postgres";
/// How long the system may take to come up once Postgres runs.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Between two looks whether the private Postgres still runs.
const POSTGRES_POLL: Duration = Duration::from_millis(500);

/// What differs from a service's defaults on a laptop; the environment still wins over the rest.
pub(crate) fn adjust(settings: &mut Settings) {
    settings.auth.mode = AuthMode::Disabled;
    settings.log.format = LogFormat::Text;
    if std::env::var_os("AEVON_LOG__LEVEL").is_none() {
        "warn".clone_into(&mut settings.log.level);
    }
}

/// Runs until Ctrl-C.
pub(crate) async fn run(mut settings: Settings, args: DevArgs) -> anyhow::Result<()> {
    let shutdown = Shutdown::new();
    let signals = {
        let shutdown = shutdown.clone();
        tokio::spawn(async move { shutdown.signals().await })
    };
    settings.server.port = args.port;
    settings.aggregation.config_dir = args.rules;
    settings.schema.path = Some(args.schemas);
    // What can be wrong without Postgres is found before it is started.
    let options = HttpOptions::from_settings(&settings)?;
    let listener = shell::bind(&options)
        .with_context(|| format!("port {} is taken; choose another with --port", args.port))?;
    aggregator_svc::rule_files::load(&settings.aggregation.config_dir)
        .context("--rules names the folder of rules")?;
    ingest_svc::check(&settings).context("--schemas names the folder of schemas")?;

    let (postgres, data) = match settings.database.url {
        Some(_) => (None, "the database of AEVON_DATABASE__URL".to_owned()),
        None => {
            let data = args.data_dir.display().to_string();
            println!("starting a private Postgres in {data}");
            let server = ServerOptions {
                data_dir: Some(args.data_dir),
                durable: true,
                ..ServerOptions::default()
            };
            let server = tokio::task::spawn_blocking(move || Server::start(&server)).await??;
            settings.database.url = Some(Secret::new(server.url(DATABASE)));
            (Some(server), data)
        }
    };
    let (url, tell) = (settings.database_url()?, |news| eprintln!("{news}"));
    let report = migrate::run(url, &MigrateOptions::default(), tell).await?;
    println!(
        "the schema is current; the log has {} partitions",
        report.partitions
    );

    let shown = Shown {
        sample: !args.no_sample,
        demo: args.demo,
        rules: settings.aggregation.config_dir.display().to_string(),
        database: match postgres {
            Some(_) => format!("AEVON_DATABASE__URL={url}, for doctor, verify, key and rules"),
            None => "where AEVON_DATABASE__URL says".to_owned(),
        },
        data,
    };
    let served = serve(&settings, options, listener, &shutdown, shown);
    let (result, postgres) = match postgres {
        None => (served.await, None),
        Some(mut server) => tokio::select! {
            result = served => (result, Some(server)),
            ended = end_of(&mut server) => (ended, Some(server)),
        },
    };
    shutdown.trigger();
    signals.abort();
    if let Some(mut server) = postgres {
        tokio::task::spawn_blocking(move || server.stop()).await??;
    }
    println!("stopped");
    result
}

/// Waits until the private Postgres ends although nobody told it to; an error then.
async fn end_of(server: &mut Server) -> anyhow::Result<()> {
    loop {
        if let Some(status) = server.exited()? {
            anyhow::bail!(
                "the private Postgres ended ({status}); its log is {}",
                server.log().display()
            );
        }
        tokio::time::sleep(POSTGRES_POLL).await;
    }
}

/// What there is to look at, and where.
struct Shown {
    sample: bool,
    demo: bool,
    rules: String,
    data: String,
    database: String,
}

impl Shown {
    fn summary(&self, base: &str) -> String {
        let Self {
            rules,
            data,
            database,
            ..
        } = self;
        let mut summary = format!(
            "\nAevon is up.\n\n  \
             explorer   {base}\n  \
             API        {base}/docs\n  \
             rules      {base}/v1/rules, of the files in {rules}\n  \
             data       {data}, stays for the next run\n  \
             database   {database}\n"
        );
        if self.demo {
            summary.push_str("  demo       acme, globex and initech, some events a second\n");
        }
        summary.push_str("  stop       Ctrl-C\n");
        if self.sample {
            summary.push_str(&sample::what_to_try(base));
        }
        summary
    }
}

async fn serve(
    settings: &Settings,
    options: HttpOptions,
    listener: std::net::TcpListener,
    shutdown: &Shutdown,
    shown: Shown,
) -> anyhow::Result<()> {
    let readiness = Readiness::new(&[READY_DATABASE, READY_RULES]);
    let metrics = Metrics::new()?;
    let ingest = Ingest::new(settings, &metrics)?;
    let projection = Projection::new(settings, &metrics)?;
    let aggregator = Aggregator::new(settings, &metrics)?;
    let routes = (ingest.configure(), projection.configure());
    let configure = move |added: &mut Routes<'_>| {
        routes.0(added);
        routes.1(added);
    };
    let base = format!("http://127.0.0.1:{}", options.port);
    let http = shell::serve(
        listener,
        options,
        readiness.clone(),
        metrics,
        shutdown.clone(),
        openapi::document(),
        configure,
    );
    let work = async {
        let prepare = async {
            ingest.prepare(&readiness).await?;
            projection.prepare(&readiness).await?;
            aggregator.prepare(&readiness).await?;
            if shown.sample {
                let loaded = sample::load(&base).await?;
                println!("sent a sample of {loaded} events of tenant acme");
            }
            anyhow::Ok(())
        };
        tokio::select! {
            () = shutdown.triggered() => return Ok(()),
            prepared = tokio::time::timeout(START_TIMEOUT, prepare) => {
                prepared.context("the system did not come up in time")??;
            }
        }
        println!("{}", shown.summary(&base));
        let streamed = async {
            match shown.demo {
                true => demo::stream(&base, shutdown).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            () = aggregator.sweep(shutdown) => {}
            () = ingest.watch(readiness.clone()) => {}
            streamed = streamed => streamed?,
        }
        anyhow::Ok(())
    };
    let done = tokio::try_join!(http, work).map(|_| ());
    ingest.finish().await;
    done
}
