//! A process that has given up its rights does not get them back, and does what it has to do. Each case is a process of its own:
//! this program, started once more.
#![allow(missing_docs)]

use std::io::Write;
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

use confine::Confinement;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

const CASE: &str = "CONFINE_CASE";

/// What a process that has done its case says last: one that found none to do has shown nothing.
const DONE: &str = "the case is done";

/// What the started process does. In the run of all tests, which has no case, that is nothing.
#[test]
fn child() {
    let Ok(case) = std::env::var(CASE) else { return };
    confine::begin().expect("begins");
    confine::confine(&Confinement::default()).expect("confines");
    match case.as_str() {
        "state" => {
            let state = confine::state();
            assert!(!state.dumpable && state.core_limit == 0);
            assert!(state.threads.len() > 1, "the test's thread and the program's");
            for thread in &state.threads {
                assert!(thread.filtered && thread.no_new_privileges, "{thread:?}");
                assert!(
                    thread
                        .capabilities
                        .iter()
                        .all(|cap| cap.starts_with("CAP_NET_") || cap == "CAP_IPC_LOCK"),
                    "{thread:?}"
                );
            }
            let net =
                |thread: &&confine::ThreadState| thread.capabilities.iter().any(|cap| cap != "CAP_IPC_LOCK");
            assert!(state.threads.iter().filter(net).count() <= 1, "other threads have none: {state:?}");
        }
        "thread" => {
            let started = std::thread::Builder::new().name("resolver".into()).spawn(|| {
                let own = || {
                    let state = confine::state();
                    let own = state.threads.into_iter().find(|thread| thread.name == "resolver");
                    own.expect("this thread").capabilities
                };
                let before = own();
                confine::give_up_capabilities_of_this_thread().expect("gives up");
                (before, own())
            });
            let (before, after) = started.expect("started").join().expect("no panic");
            let only_locks = |names: &[String]| names.iter().all(|cap| cap == "CAP_IPC_LOCK");
            assert!(only_locks(&after), "{after:?}");
            // Without root there is nothing to give up.
            assert!(nix::unistd::geteuid().as_raw() != 0 || !only_locks(&before), "{before:?}");
        }
        "namespace" => drop(unshare(CloneFlags::CLONE_NEWNET)),
        "run" => {
            let error = Command::new("/bin/true").status().expect_err("no process is made");
            assert_eq!(error.raw_os_error(), Some(nix::libc::ENOSYS));
        }
        "socket" => {
            let made = socket(AddressFamily::Alg, SockType::SeqPacket, SockFlag::empty(), None);
            assert_eq!(made.err(), Some(nix::errno::Errno::ENOSYS));
        }
        "work" => {
            let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
            let address = listener.local_addr().expect("bound");
            let connected = std::thread::spawn(move || TcpStream::connect(address).is_ok());
            listener.accept().expect("accepts");
            assert!(connected.join().expect("no panic"));
            UdpSocket::bind("127.0.0.1:0").expect("bound");
            assert!(("localhost", 1).to_socket_addrs().is_ok());
            let path = std::env::temp_dir().join(format!("confine-{}", std::process::id()));
            std::fs::write(&path, "x").expect("written");
            std::fs::rename(&path, path.with_extension("y")).expect("renamed");
            std::fs::remove_file(path.with_extension("y")).expect("removed");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        other => panic!("no case {other}"),
    }
    std::io::stdout().write_all(DONE.as_bytes()).expect("said");
}

fn run(case: &str) -> Output {
    Command::new(std::env::current_exe().expect("known"))
        .args(["--exact", "child", "--nocapture"])
        .env(CASE, case)
        .output()
        .expect("runs")
}

fn assert_good(case: &str) {
    let output = run(case);
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.contains(DONE), "{case}: {:?}\n{said}", output.status);
}

#[test]
fn every_thread_gives_up_what_it_does_not_need() {
    assert_good("state");
}

#[test]
fn a_new_thread_gives_up_what_it_was_given() {
    assert_good("thread");
}

#[test]
fn it_still_works() {
    assert_good("work");
}

#[test]
fn no_program_is_started_and_no_strange_socket_opened() {
    assert_good("run");
    assert_good("socket");
}

#[test]
fn an_attack_ends_the_process_with_a_word() {
    let output = run("namespace");
    assert_eq!(output.status.signal(), Some(Signal::SIGSYS as i32), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let number = format!("system call {:>4} is forbidden", nix::libc::SYS_unshare);
    assert!(said.contains(&number), "{number}: {said}");
}

#[test]
fn a_user_that_there_is_not_is_told() {
    let told = confine::check_user("no-such-user-here").expect_err("there is none").to_string();
    assert!(told.contains("system.user") && told.contains("no-such-user-here"), "{told}");
    confine::check_user("root").expect("there is one");
}
