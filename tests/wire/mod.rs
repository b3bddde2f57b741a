//! A wire between a client and a cloud: it hands every byte on as it came, keeps a log of the calls, and by one rule may
//! lose them, answer them itself, or end the client just before or after one.
//!
//! Signatures survive it, since a client signs the address that it calls and a cloud does not compare that to its own.

#![allow(dead_code, reason = "tests and benches each use a part of it")]

mod agents;
mod calls;
mod http;
mod rule;

use std::io::{BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[allow(unused_imports, reason = "as above")]
pub use calls::{Call, Place, Totals, changes, places, totals};
pub use rule::{Deed, Rule};

use agents::Agents;
use http::{Message, Side};
use rule::Armed;

/// How a client ended, what it said, and what it called.
#[derive(Debug, Clone)]
pub struct Ended {
    /// None if it was killed.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
    pub calls: Vec<Call>,
    pub seconds: f64,
    /// How often the wire's rule was applied.
    pub met: usize,
}

/// A wire that listens on a port of its own.
pub struct Wire {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: String,
    is_over: AtomicBool,
    delay: AtomicU64,
    /// Requests that were read and not answered yet.
    open: AtomicUsize,
    log: Mutex<Vec<Call>>,
    rule: Mutex<Option<Armed>>,
    client: Mutex<Option<Child>>,
    agents: Option<Mutex<Agents>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A test that failed says so itself; what it left is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wire {
    /// Listens on 127.0.0.1 and leads to `upstream`, an `http://` URL.
    pub fn start(upstream: &str) -> Self {
        Self::lead(upstream, None)
    }

    /// The same, with agents in every instance of the cloud behind it.
    pub fn with_agents(upstream: &str) -> Self {
        Self::lead(upstream, Some(Mutex::default()))
    }

    fn lead(upstream: &str, agents: Option<Mutex<Agents>>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of loopback is free");
        let address = listener.local_addr().expect("it is bound");
        let upstream = upstream.trim().trim_start_matches("http://").trim_end_matches('/').to_owned();
        let shared = Arc::new(Shared {
            upstream,
            agents,
            is_over: AtomicBool::new(false),
            delay: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            log: Mutex::default(),
            rule: Mutex::default(),
            client: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if accepting.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&accepting);
                // A connection that breaks is what this is about.
                std::thread::spawn(move || drop(shared.serve(stream)));
            }
        });
        Self { address, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes every request wait before it goes on.
    pub fn delay(&self, milliseconds: u64) {
        self.shared.delay.store(milliseconds, Ordering::SeqCst);
    }

    /// Runs a client to its end with this rule; one that takes longer than `limit` is killed.
    pub fn run(&self, command: Command, rule: Option<Rule>, limit: Duration) -> Ended {
        self.run_to(command, rule, limit, |child| {
            child.try_wait().expect("a child can be waited for").map(|status| status.code())
        })
    }

    /// The same, with a way of one's own to ask whether the client has ended, and with which code.
    pub fn run_to(
        &self,
        mut command: Command,
        rule: Option<Rule>,
        limit: Duration,
        mut ended: impl FnMut(&mut Child) -> Option<Option<i32>>,
    ) -> Ended {
        let shared = &self.shared;
        lock(&shared.log).clear();
        *lock(&shared.rule) = rule.map(|rule| Armed { rule, seen: 0, done: 0 });
        let begun = Instant::now();
        let (out, err) = {
            // Whoever has to kill it waits until it is known.
            let mut client = lock(&shared.client);
            let mut child =
                command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
            let pipes = (child.stdout.take().expect("it is piped"), child.stderr.take().expect("it is piped"));
            *client = Some(child);
            pipes
        };
        let (out, err) = (listen(out), listen(err));
        let code = loop {
            if let Some(child) = lock(&shared.client).as_mut() {
                if let Some(code) = ended(child) {
                    break code;
                }
                if begun.elapsed() > limit {
                    let _ = child.kill();
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let seconds = begun.elapsed().as_secs_f64();
        *lock(&shared.client) = None;
        let text = |reader: std::thread::JoinHandle<String>| reader.join().unwrap_or_default();
        let (out, mut err) = (text(out), text(err));
        if begun.elapsed() > limit {
            err.push_str(&format!("\nkilled after {} s", limit.as_secs()));
        }
        self.settle();
        let calls = std::mem::take(&mut *lock(&shared.log));
        let met = lock(&shared.rule).take().map_or(0, |armed| armed.done);
        Ended { code, out, err, calls, seconds, met }
    }

    /// Waits until what a client left in flight has reached the cloud: what comes after must not race with it.
    fn settle(&self) {
        let begun = Instant::now();
        while self.shared.open.load(Ordering::SeqCst) > 0 && begun.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // Wakes the listener, which then ends.
        let _ = TcpStream::connect(self.address);
    }
}

fn listen(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Counts a request as under way for as long as it lives.
struct Open<'a>(&'a AtomicUsize);

impl<'a> Open<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    /// Serves one connection of a client, request after request.
    fn serve(&self, mut client: TcpStream) -> std::io::Result<()> {
        client.set_nodelay(true)?;
        let mut requests = BufReader::new(client.try_clone()?);
        while let Some(request) = http::read(&mut requests, Side::Client)? {
            let open = Open::new(&self.open);
            let begun = Instant::now();
            let (service, action) = calls::name(&request);
            std::thread::sleep(Duration::from_millis(self.delay.load(Ordering::SeqCst)));
            let deed = lock(&self.rule).as_mut().and_then(|armed| armed.meet(&action));
            let answer = match deed {
                None => Some(self.forward(&service, &action, &request)?),
                Some(Deed::Answer { status, code }) => {
                    Some(Message { head: rule::refusal(&service, status, code), ..Message::default() })
                }
                Some(Deed::KillBefore) => {
                    self.kill();
                    None
                }
                Some(Deed::KillAfter) => {
                    self.forward(&service, &action, &request)?;
                    self.kill();
                    None
                }
                Some(Deed::LostBefore) => None,
                Some(Deed::LostAfter) => {
                    self.forward(&service, &action, &request)?;
                    None
                }
                Some(Deed::Hang) => {
                    drop(open);
                    // Ends when the client has lost patience.
                    let _ = requests.read(&mut [0]);
                    return client.shutdown(Shutdown::Both);
                }
            };
            let status = answer.as_ref().map_or(0, Message::status);
            lock(&self.log).push(Call { service, action, begun, ended: Instant::now(), status });
            let Some(answer) = answer else { return client.shutdown(Shutdown::Both) };
            client.write_all(&answer.bytes())?;
            if answer.is_last {
                return client.shutdown(Shutdown::Both);
            }
        }
        Ok(())
    }

    /// Hands a request on and answers with what comes back.
    fn forward(&self, service: &str, action: &str, request: &Message) -> std::io::Result<Message> {
        if let (Some(agents), "ssm") = (&self.agents, service)
            && let Some(head) = lock(agents).answer(action, request)
        {
            return Ok(Message { head, ..Message::default() });
        }
        let mut cloud = TcpStream::connect(&self.upstream)?;
        cloud.set_nodelay(true)?;
        cloud.write_all(&request.bytes())?;
        http::read(&mut BufReader::new(cloud), Side::Server)?.ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
    }

    fn kill(&self) {
        if let Some(child) = lock(&self.client).as_mut() {
            let _ = child.kill();
        }
    }
}
