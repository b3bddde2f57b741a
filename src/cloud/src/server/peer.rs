//! Who is at the other end of a loopback connection: the kernel knows whose socket it is.
//!
//! Loopback keeps other machines out, not other users of this one. They have no key, but they could take every place
//! and wait; so they are told from the owner before anything is read.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

/// The user who has the other end's socket; None when nobody has it any more.
pub(super) fn user(peer: SocketAddr, own: SocketAddr) -> io::Result<Option<u32>> {
    let (SocketAddr::V4(peer), SocketAddr::V4(own)) = (peer, own) else {
        return Err(io::Error::other("only IPv4 is listened on"));
    };
    // One question about one socket. The kernel may have been built without it; the table is there with any kernel,
    // but reading it costs as much as the machine has connections.
    user_by_question(peer, own).or_else(|_| user_by_table(peer, own))
}

/// Kernel's numbers, from linux/sock_diag.h, linux/netlink.h and linux/inet_diag.h.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const HEADER: usize = 16;
const AF_INET: u8 = 2;
const IPPROTO_TCP: u8 = 6;
/// Of `inet_diag_msg`: where the socket's user and inode stand.
const UID_AT: usize = HEADER + 64;
const INODE_AT: usize = HEADER + 68;

fn user_by_question(peer: SocketAddrV4, own: SocketAddrV4) -> io::Result<Option<u32>> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(netlink::SOCK_DIAG),
    )?;
    rustix::net::send(&socket, &question(peer, own), SendFlags::empty())?;
    // The kernel answers while it takes the question.
    let mut answer = [0; 512];
    let (length, _) = rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
    read_answer(&answer[..length])
}

/// `inet_diag_req_v2` for the socket that has `peer` as its own address.
fn question(peer: SocketAddrV4, own: SocketAddrV4) -> Vec<u8> {
    let mut body = vec![AF_INET, IPPROTO_TCP, 0, 0];
    body.extend(u32::MAX.to_ne_bytes());
    body.extend(peer.port().to_be_bytes());
    body.extend(own.port().to_be_bytes());
    for address in [peer.ip(), own.ip()] {
        body.extend(address.octets());
        body.extend([0; 12]);
    }
    // Any interface, any cookie.
    body.extend(0u32.to_ne_bytes());
    body.extend([0xff; 8]);
    // A question is 72 bytes long.
    let length = (HEADER + body.len()) as u32;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend(1u32.to_ne_bytes());
    message.extend(0u32.to_ne_bytes());
    message.extend(body);
    message
}

fn read_answer(answer: &[u8]) -> io::Result<Option<u32>> {
    let number = |at: usize| answer.get(at..at + 4).and_then(|bytes| Some(u32::from_ne_bytes(bytes.try_into().ok()?)));
    let short = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let kind = answer.get(4..6).map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]])).ok_or_else(short)?;
    if kind == NLMSG_ERROR {
        let code = number(HEADER).ok_or_else(short)?.cast_signed().wrapping_neg();
        let gone = code == rustix::io::Errno::NOENT.raw_os_error();
        return if gone { Ok(None) } else { Err(io::Error::from_raw_os_error(code)) };
    }
    let (user, inode) = (number(UID_AT).ok_or_else(short)?, number(INODE_AT).ok_or_else(short)?);
    Ok(owned(user, u64::from(inode)))
}

/// A socket that its process has closed has no inode, and older kernels then call it root's.
fn owned(user: u32, inode: u64) -> Option<u32> {
    (inode != 0).then_some(user)
}

fn user_by_table(peer: SocketAddrV4, own: SocketAddrV4) -> io::Result<Option<u32>> {
    let (peer_words, own_words) = (words(peer), words(own));
    // A client's IPv6 socket may speak to an IPv4 address; it is then in the other table.
    let tables = [("/proc/net/tcp", ""), ("/proc/net/tcp6", MAPPED)];
    for (table, prefix) in tables {
        match find(Path::new(table), &format!("{prefix}{peer_words}"), &format!("{prefix}{own_words}")) {
            Ok(None) => {}
            // A machine without IPv6 has no such table.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !prefix.is_empty() => {}
            found => return found,
        }
    }
    Ok(None)
}

/// What stands before an IPv4 address in the table of IPv6.
const MAPPED: &str = if cfg!(target_endian = "little") { "0000000000000000FFFF0000" } else { "00000000000000000000FFFF" };

/// Address and port as the kernel's tables have them.
fn words(address: SocketAddrV4) -> String {
    let ip: &Ipv4Addr = address.ip();
    format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), address.port())
}

/// The user of the row with these addresses: `sl local remote state queues timer retransmits uid timeout inode …`.
fn find(table: &Path, local: &str, remote: &str) -> io::Result<Option<u32>> {
    for line in BufReader::new(File::open(table)?).lines() {
        let line = line?;
        let fields: Vec<&str> = line.split_ascii_whitespace().take(10).collect();
        let [_, its_local, its_remote, _, _, _, _, user, _, inode] = fields[..] else { continue };
        if its_local == local && its_remote == remote {
            let numbers = user.parse().ok().zip(inode.parse().ok());
            return Ok(numbers.and_then(|(user, inode)| owned(user, inode)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn v4(address: SocketAddr) -> SocketAddrV4 {
        match address {
            SocketAddr::V4(address) => address,
            SocketAddr::V6(address) => SocketAddrV4::new(address.ip().to_ipv4_mapped().unwrap(), address.port()),
        }
    }

    #[test]
    fn both_ways_name_the_user_of_the_other_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, peer) = listener.accept().unwrap();
        let own = accepted.local_addr().unwrap();
        let me = rustix::process::geteuid().as_raw();
        assert_eq!(user(peer, own).unwrap(), Some(me));
        assert_eq!(user_by_table(v4(peer), v4(own)).unwrap(), Some(me));
        drop(client);
        assert_eq!(user_by_table(v4(peer), v4(own)).unwrap(), None);
        assert_eq!(user(peer, own).unwrap(), None);
    }

    #[test]
    fn a_client_with_an_ipv6_socket_is_found_too() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else { unreachable!("bound to IPv4") };
        let mapped = SocketAddr::from((address.ip().to_ipv6_mapped(), address.port()));
        let Ok(client) = TcpStream::connect(mapped) else {
            eprintln!("this machine has no IPv6");
            return;
        };
        let (accepted, peer) = listener.accept().unwrap();
        let (peer, own) = (v4(peer), v4(accepted.local_addr().unwrap()));
        let me = rustix::process::geteuid().as_raw();
        assert_eq!(user_by_table(peer, own).unwrap(), Some(me));
        if let Ok(asked) = user_by_question(peer, own) {
            assert_eq!(asked, Some(me));
        }
        drop(client);
    }

    #[test]
    fn another_user_is_told_from_this_one() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: only root can be another user");
            return;
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut other = stranger(port);
        let (accepted, peer) = listener.accept().unwrap();
        let own = accepted.local_addr().unwrap();
        assert_eq!(user(peer, own).unwrap(), Some(STRANGER));
        assert_eq!(user_by_table(v4(peer), v4(own)).unwrap(), Some(STRANGER));
        other.kill().unwrap();
        other.wait().unwrap();
    }

    /// The user id that Debian gives to `nobody`.
    const STRANGER: u32 = 65534;

    /// A process of another user that connects and waits.
    fn stranger(port: u16) -> std::process::Child {
        use std::os::unix::process::CommandExt as _;
        let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; sleep 60");
        std::process::Command::new("bash").args(["-c", &script]).uid(STRANGER).gid(STRANGER).spawn().unwrap()
    }

    #[test]
    fn answers_that_are_cut_short_are_errors() {
        for length in 0..INODE_AT + 4 {
            assert!(read_answer(&vec![0; length]).is_err(), "{length}");
        }
    }
}
