//! What can be typed, and one short function per command.
//!
//! The process's environment, terminal and clock enter here and nowhere else.

mod artifacts;
mod carry_out;
mod copy;
mod doctor;
mod examples;
mod hash;
mod init;
mod load;
mod log;
mod login;
mod misuse;
mod notebook;
mod open;
mod orphans;
mod page;
mod reap;
mod rehearse;
mod save;
mod saved;
mod schema;
mod shell;
mod ssh;
mod ssh_config;
mod worlds;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::apply::Interrupt;
use crate::error::{Error, ExitCode, Result};
use crate::guard::Discard;
use crate::observe::{Held, Reading, look_closer, observe};
use crate::observed::Observed;
use crate::plan::{self, Part, Plan, Request};
use crate::record::Record;
use crate::report;
use crate::spec::{DiskFate, Spec, State};
use load::Loaded;
use worlds::Worlds;

// What `--sandbox` does before a command, for programs that use the library.
pub use rehearse::seed;
pub use worlds::sandboxed;

/// A rented GPU server exactly as session.toml says: there when you want it, gone when you don't, and
/// nothing lost either way.
#[derive(Parser, Debug)]
#[command(name = "dacapo", version, max_term_width = 100, after_help = examples::ALL)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args, Debug, Clone, Default)]
struct Global {
    /// Rehearse against the embedded world, kept in DIR (default: .dacapo/sandbox beside session.toml)
    #[arg(long, global = true, value_name = "DIR", num_args = 0..=1, require_equals = true,
          default_missing_value = "")]
    sandbox: Option<String>,
    /// The session file; found by searching upwards when not given
    #[arg(long, short, global = true, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Run as if started in DIR
    #[arg(short = 'C', global = true, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Override one key for this run, for example instance.image=ubuntu-24.04 (may be repeated)
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    /// Print data and errors only
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Tell each request, each git command and each question to the server, on the standard error
    #[arg(long, short, global = true, conflicts_with = "quiet")]
    verbose: bool,
    /// Stop after this time, as Ctrl-C would: 90s, 20m, 2h
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: Colors,
}

/// When colours are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Colors {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Args, Debug, Clone, Default)]
struct Asked {
    /// Bring exactly what session.lock says, or fail
    #[arg(long)]
    locked: bool,
    /// Accept one named loss, for example repo:untracked or files:PATH (may be repeated)
    #[arg(long, value_name = "WHAT", value_parser = |text: &str| text.parse::<Discard>())]
    discard: Vec<Discard>,
    /// End the machine and keep its disk, which bills on and is booted by the next up
    #[arg(long)]
    keep_disk: bool,
    /// Empty the trash of what went into it with this session's machines
    #[arg(long)]
    purge: bool,
    /// Let a machine that differs from session.toml make way for another
    #[arg(long)]
    replace: bool,
    /// Leave out what isn't about this part: machine, code, artifacts, setup or notebook (may be repeated)
    #[arg(long, value_name = "PART", value_parser = |text: &str| text.parse::<Part>())]
    only: Vec<Part>,
}

/// How a plan is shown.
#[derive(Args, Debug, Clone, Default)]
struct Shown {
    /// Exit with 2 when there is something to do
    #[arg(long)]
    detailed_exitcode: bool,
    /// Write the plan to FILE too; `apply FILE` carries it out if the world is still the same
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print Markdown, for a pull request's comment
    #[arg(long, conflicts_with_all = ["json", "explain"])]
    markdown: bool,
    /// Say of one action, by its number, what it rests on and what it does
    #[arg(long, value_name = "ACTION", conflicts_with = "json")]
    explain: Option<usize>,
}

#[derive(Args, Debug, Clone, Default)]
struct Approve {
    #[command(flatten)]
    asked: Asked,
    /// Carry the plan out without asking
    #[arg(long, short)]
    yes: bool,
}

const STATUS_EXAMPLES: &str = "Examples:
  dacapo status              one look
  dacapo status --watch      again every 10 seconds, until Ctrl-C
  dacapo status --json       for programs";

#[derive(Subcommand, Debug)]
enum Command {
    /// Ask the few questions that matter, and write session.toml
    Init(Box<init::Init>),
    /// Show what apply would do
    #[command(after_help = examples::PLAN)]
    Plan {
        #[command(flatten)]
        asked: Asked,
        #[command(flatten)]
        shown: Shown,
    },
    /// Make the world as session.toml says
    #[command(after_help = examples::APPLY)]
    Apply {
        /// A plan that `plan -o` wrote: it is approved, and carried out if the world is still the same
        #[arg(value_name = "PLAN", conflicts_with_all = ["set", "locked", "discard", "keep_disk", "purge", "replace",
              "only", "yes"])]
        plan: Option<PathBuf>,
        #[command(flatten)]
        approve: Approve,
    },
    /// Apply with state = "running"
    #[command(after_help = examples::UP)]
    Up(Approve),
    /// Apply with state = "absent": save, prove, delete
    #[command(after_help = examples::DOWN)]
    Down(Approve),
    /// Run a command on the server, in the checkout
    #[command(after_help = examples::RUN)]
    Run {
        /// Forward the ssh agent for this one command
        #[arg(short = 'A')]
        forward_agent: bool,
        /// The command and its arguments
        #[arg(required = true, last = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
    /// Open the way to the notebook on the server, and print the address that opens it
    Notebook(notebook::Notebook),
    /// Copy files to or from the server; content is verified, and what differs is replaced only when asked to
    Cp(copy::Cp),
    /// Commit and push what was changed on the server and store the artifacts, now; the session goes on
    Save(save::Save),
    /// Open a shell on the server, in the checkout
    Ssh(ssh::Ssh),
    /// Let `ssh NAME`, editors and rsync reach the server while it lives
    SshConfig(ssh_config::SshConfig),
    /// Show server, code, artifacts and money on one screen
    #[command(after_help = STATUS_EXAMPLES)]
    Status {
        /// Look again every so many seconds, until Ctrl-C
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "10",
              value_parser = clap::value_parser!(u64).range(1..=86_400))]
        watch: Option<u64>,
    },
    /// List the sessions that ended: when, what they cost, what they began and ended with
    Log(log::Log),
    /// Write a page to look at: the last run, what sessions cost, the stored versions, what bills now
    Report(page::Asked),
    /// Show the cloud's console page of the server
    Open(open::Open),
    /// End machines that are past their deadline; keep the disk where nothing shows that it may go
    Reap(reap::Reap),
    /// List what bills in the account and belongs to no session.toml here
    Orphans(orphans::Orphans),
    /// Check session.toml without asking anybody
    #[command(after_help = examples::VALIDATE)]
    Validate,
    /// Try what a session needs, here and in the accounts, and say how to fix what is missing
    Doctor(doctor::Doctor),
    /// Sign in to Dropbox or the cloud, and keep the credentials on this laptop
    #[command(subcommand, after_help = examples::LOGIN)]
    Login(login::Login),
    /// Forget the credentials that login keeps
    Logout(login::Logout),
    /// Print the content hash by which artifacts are known
    Hash(hash::Hash),
    /// Look at the versions of the artifacts in the store
    #[command(subcommand, after_help = examples::ARTIFACTS)]
    Artifacts(artifacts::Command),
    /// Look after the embedded world
    #[command(subcommand, after_help = examples::SANDBOX)]
    Sandbox(rehearse::Command),
    /// Print what makes a shell complete dacapo's commands
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// The shell
        shell: shell::Shell,
    },
    /// Print the manual as a page for `man`
    #[command(after_help = examples::MAN)]
    Man(shell::Man),
    /// Print the JSON schema of session.toml, for editors; or of what a command prints with `--json`
    Schema(schema::Schema),
}

/// Parses the process's arguments, runs the command and returns how the process ends.
pub fn main() -> ExitCode {
    if shell::complete() {
        return ExitCode::Ok;
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // A closed pipe leaves nobody to tell.
            if !error.use_stderr() {
                let _ = error.print();
                return ExitCode::Ok;
            }
            misuse::told(&error);
            return ExitCode::Usage;
        }
    };
    // Without it the first TLS client panics; a second install only says that one is there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let json = arguments.global.json;
    set_up_output(&arguments.global);
    let done = runtime().and_then(|runtime| {
        let done = runtime.block_on(run(arguments));
        // A reader blocked on the terminal must not keep the process alive.
        runtime.shutdown_background();
        done
    });
    done.unwrap_or_else(|error| {
        let told = if json {
            report::error_json(&mut io::stdout().lock(), &error)
        } else {
            report::error(&mut io::stderr().lock(), &error)
        };
        // A closed pipe leaves nobody to tell; the exit code still says it.
        drop(told);
        error.kind
    })
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Error::new("cannot start the runtime").because(&error))
}

/// Runs the command. What changes the world stops at a safe point when its time is over; what only looks, at once.
async fn run(arguments: Arguments) -> Result<ExitCode> {
    let Arguments { global, command } = arguments;
    let Some(limit) = global.timeout.filter(|_| !command.stops_by_itself()) else {
        return carried_out(&global, command).await;
    };
    tokio::time::timeout(limit, carried_out(&global, command)).await.unwrap_or_else(|_| {
        Err(Error::new(format!("it took longer than `--timeout` {limit:?}")).why("nothing was changed"))
    })
}

impl Command {
    fn stops_by_itself(&self) -> bool {
        matches!(
            self,
            Self::Apply { .. }
                | Self::Up(_)
                | Self::Down(_)
                | Self::Run { .. }
                | Self::Notebook(_)
                | Self::Cp(_)
                | Self::Save(_)
                | Self::Ssh(_)
                | Self::Status { watch: Some(_) }
                | Self::Reap(_)
                | Self::Artifacts(_)
        )
    }
}

async fn carried_out(global: &Global, command: Command) -> Result<ExitCode> {
    match command {
        Command::Init(asked) => init::run(global, &asked).await,
        Command::Plan { asked, shown } => show_plan(global, &asked, &shown).await,
        Command::Apply { plan: Some(file), .. } => carry_out::apply_saved(global, &file).await,
        Command::Apply { plan: None, approve } => carry_out::apply(global, &approve, None).await,
        Command::Up(approve) => carry_out::apply(global, &approve, Some(State::Running)).await,
        Command::Down(approve) => carry_out::apply(global, &approve, Some(State::Absent)).await,
        Command::Run { forward_agent, command } => run_remote(global, &command, forward_agent).await,
        Command::Notebook(asked) => notebook::run(global, &asked).await,
        Command::Cp(asked) => copy::run(global, &asked).await,
        Command::Save(asked) => save::run(global, &asked).await,
        Command::Ssh(asked) => ssh::run(global, &asked).await,
        Command::SshConfig(asked) => ssh_config::run(global, &asked).await,
        Command::Status { watch: None } => status(global).await,
        Command::Status { watch: Some(seconds) } => watch(global, Duration::from_secs(seconds)).await,
        Command::Log(asked) => log::run(global, &asked).await,
        Command::Report(asked) => page::run(global, &asked).await,
        Command::Open(asked) => open::run(global, &asked).await,
        Command::Reap(asked) => reap::run(global, &asked).await,
        Command::Orphans(asked) => orphans::run(global, &asked).await,
        Command::Validate => validate(global),
        Command::Doctor(asked) => doctor::run(global, &asked).await,
        Command::Login(asked) => login::run(global, asked).await,
        Command::Logout(asked) => login::log_out(global, &asked),
        Command::Hash(asked) => hash::run(&asked, global.json),
        Command::Artifacts(command) => artifacts::run(global, command).await,
        Command::Sandbox(command) => rehearse::run(global, command).await,
        Command::Completions { shell } => shell::completions(shell),
        Command::Man(asked) => shell::man(asked.dir.as_deref()),
        Command::Schema(asked) => schema::run(&asked),
    }
}

fn validate(global: &Global) -> Result<ExitCode> {
    let loaded = Loaded::read(global, None)?;
    let mut out = io::stdout().lock();
    let shown = loaded.path.display().to_string();
    let told = if global.json {
        writeln!(
            out,
            "{}",
            serde_json::json!({"version": 1, "valid": true, "path": shown, "session": loaded.spec.name})
        )
    } else {
        report::valid(&mut out, &shown, &loaded.spec.name)
    };
    told.map(|()| ExitCode::Ok).map_err(cannot_print)
}

async fn show_plan(global: &Global, asked: &Asked, shown: &Shown) -> Result<ExitCode> {
    let loaded = Loaded::read(global, None)?;
    let worlds = Worlds::open(global, &loaded).await?;
    let (_, _, plan) = look(&worlds, &loaded.spec, &loaded.directory, asked, |observed| {
        plan::plan(request(&loaded, asked), observed)
    })
    .await?;
    if let Some(number) = shown.explain {
        explain(&plan, number, &worlds.prefix)?;
    } else if shown.markdown {
        report::markdown(&mut io::stdout().lock(), &plan, &worlds.prefix).map_err(cannot_print)?;
    } else {
        print_plan(global, &plan, &worlds.prefix)?;
    }
    if let Some(file) = &shown.out {
        let path = saved::write(global, &loaded, asked, &plan, file)?;
        if !global.json {
            report::saved_plan(&mut io::stderr().lock(), &path, &worlds.prefix).map_err(cannot_print)?;
        }
    }
    Ok(if shown.detailed_exitcode && !plan.is_empty() { ExitCode::Pending } else { ExitCode::Ok })
}

fn explain(plan: &Plan, number: usize, prefix: &str) -> Result<()> {
    let action = number.checked_sub(1).and_then(|place| plan.actions.get(place)).ok_or_else(|| {
        Error::of(ExitCode::Usage, format!("the plan has no action {number}"))
            .why(format!("it has {}, counted from 1", plan.actions.len()))
            .hint("`dacapo plan` shows them with their numbers")
    })?;
    report::explain(&mut io::stdout().lock(), action, plan, prefix).map_err(cannot_print)
}

/// Looks at the four worlds and plans; what the plan would bring is looked at more closely.
async fn look(
    worlds: &Worlds,
    spec: &Spec,
    directory: &Path,
    asked: &Asked,
    planned: impl Fn(&Observed) -> Result<Plan>,
) -> Result<(Observed, Held, Plan)> {
    let providers = &worlds.providers;
    let (observed, held) = observe(providers, spec, directory, Reading::Remembered).await?;
    ssh_config::keep_up(worlds, spec, &observed);
    let mut observed = with_trash(observed, asked, worlds).await?;
    let mut plan = planned(&observed)?;
    if look_closer(providers, spec, &mut observed, &plan).await? {
        plan = planned(&observed)?;
    }
    Ok((observed, held, plan))
}

/// Shows the status again and again: over the last one on a terminal, below it elsewhere. Ctrl-C is its end.
async fn watch(global: &Global, pause: Duration) -> Result<ExitCode> {
    let interrupt = interrupts(global);
    let on_terminal = io::stdout().is_terminal() && !global.json;
    loop {
        if on_terminal {
            report::clear_screen(&mut io::stdout().lock()).map_err(cannot_print)?;
        }
        tokio::select! {
            shown = status(global) => match shown {
                Ok(_) => {}
                // A service that doesn't answer may do so the next time; what can't work never will.
                Err(error) if matches!(error.kind, ExitCode::Error) => {
                    report::error(&mut io::stderr().lock(), &error).map_err(cannot_print)?;
                }
                Err(error) => return Err(error),
            },
            () = interrupt.requested() => return Ok(ExitCode::Ok),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = interrupt.requested() => return Ok(ExitCode::Ok),
        }
    }
}

async fn status(global: &Global) -> Result<ExitCode> {
    let loaded = Loaded::read(global, Some(State::Running))?;
    let worlds = Worlds::open(global, &loaded).await?;
    let (observed, _) =
        observe(&worlds.providers, &loaded.spec, &loaded.directory, Reading::Remembered).await?;
    ssh_config::keep_up(&worlds, &loaded.spec, &observed);
    let plan = overview(&loaded, &observed)?;
    let mut out = io::stdout().lock();
    let told = if global.json {
        let value = serde_json::json!({
            "version": 1,
            "session": plan.session,
            "machine": observed.instance().map(|instance| serde_json::json!({
                "id": instance.id,
                "status": instance.status.to_string(),
                "ip": instance.ip,
                "type": instance.r#type,
                "location": instance.location,
                "price_per_hour": instance.price_per_hour.units(),
            })),
            "world": plan.observed,
            "notebook": observed.notebook(),
            "work": plan.work,
            "money": plan.money,
        });
        writeln!(out, "{value}")
    } else {
        report::status(&mut out, &plan, &observed)
    };
    told.map(|()| ExitCode::Ok).map_err(cannot_print)
}

async fn run_remote(global: &Global, command: &[String], forward_agent: bool) -> Result<ExitCode> {
    let loaded = Loaded::read(global, None)?;
    let worlds = Worlds::open(global, &loaded).await?;
    let (rented, instance) = worlds.server(&loaded.spec).await?;
    let mut connection = worlds.providers.connect(&loaded.spec, &rented, &instance, forward_agent).await?;
    let interrupt = interrupts(global);
    let code = connection.run(&loaded.spec.repo.path, command, forward_agent, interrupt.requested()).await;
    connection.close().await;
    Ok(ExitCode::Remote(code?))
}

fn request<'a>(loaded: &'a Loaded, asked: &'a Asked) -> Request<'a> {
    let keeps = loaded.spec.instance.on_absent == DiskFate::Keep;
    Request {
        spec: &loaded.spec,
        lock: loaded.lock.as_ref(),
        locked: asked.locked,
        discards: &asked.discard,
        keep_disk: asked.keep_disk || keeps,
        purge: asked.purge,
        replace: asked.replace,
        only: &asked.only,
    }
}

/// Takes the trash into the look, where it is to be emptied.
async fn with_trash(mut observed: Observed, asked: &Asked, worlds: &Worlds) -> Result<Observed> {
    if asked.purge {
        observed.cloud.trash = Some(worlds.providers.cloud.trash().await?);
    }
    Ok(observed)
}

/// Returns what is there and what it costs, also where the spec asks for what can't be had.
fn overview(loaded: &Loaded, observed: &Observed) -> Result<Plan> {
    let asked = Asked::default();
    plan::plan(request(loaded, &asked), observed).or_else(|_| {
        let absent = Spec { state: State::Absent, ..loaded.spec.clone() };
        plan::plan(Request { spec: &absent, ..request(loaded, &asked) }, observed)
    })
}

fn print_plan(global: &Global, plan: &Plan, prefix: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    let told = if global.json {
        writeln!(out, "{}", serde_json::json!({"version": 1, "plan": plan}))
    } else {
        report::plan(&mut out, plan, prefix)
    };
    told.map_err(cannot_print)
}

/// Turns INT, TERM, HUP and the end of `--timeout` into a request to stop; the second signal ends the process at once.
fn interrupts(global: &Global) -> Interrupt {
    use tokio::signal::unix::{SignalKind, signal};
    let interrupt = Interrupt::default();
    if let Some(limit) = global.timeout {
        let interrupt = interrupt.clone();
        tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            interrupt.request();
        });
    }
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let interrupt = interrupt.clone();
        let Ok(mut signals) = signal(kind) else { continue };
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if interrupt.is_requested() {
                    leave_now();
                }
                interrupt.request();
            }
        });
    }
    interrupt
}

#[expect(clippy::exit, reason = "the second Ctrl-C means now")]
fn leave_now() -> ! {
    std::process::exit(ExitCode::Interrupted.code().into())
}

fn set_up_output(global: &Global) {
    if global.color != Colors::Auto {
        console::set_colors_enabled(global.color == Colors::Always);
        console::set_colors_enabled_stderr(global.color == Colors::Always);
    }
    if global.verbose {
        use tracing_subscriber::layer::SubscriberExt as _;
        use tracing_subscriber::util::SubscriberInitExt as _;
        // Libraries have words of their own, which may hold what ours leave out.
        let ours = tracing_subscriber::filter::Targets::new().with_target("dacapo", tracing::Level::DEBUG);
        let lines =
            tracing_subscriber::fmt::layer().with_writer(io::stderr).with_target(false).with_level(false);
        tracing_subscriber::registry().with(lines.without_time().with_ansi(false)).with(ours).init();
    }
}

fn duration(text: &str) -> std::result::Result<Duration, String> {
    let words = "write a number and its unit, for example 90s, 20m or 2h";
    let parsed = text.parse::<jiff::SignedDuration>().map_err(|_| words.to_owned())?;
    Duration::try_from(parsed).ok().filter(|duration| !duration.is_zero()).ok_or_else(|| words.to_owned())
}

fn is_terminal() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

fn cannot_print(error: io::Error) -> Error {
    Error::new("cannot write to the standard output").because(&error)
}

/// Returns a fresh random word of 32 hexadecimal digits.
fn random_word() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    hex::encode(bytes)
}

/// Says whether a record names a machine that may bill.
fn may_bill(record: &Record) -> bool {
    record.machine.is_some() || record.intent.is_some()
}
