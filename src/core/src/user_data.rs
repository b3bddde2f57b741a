//! User data: what a node is told at launch. It holds no secret; anyone on the node can read it (ec2.md 9.6).

use std::fmt::Write;
use std::net::Ipv4Addr;

use crate::address::Role;
use crate::quantity::Ipv4Network;

/// Where cloud-init puts the node's configuration; the image's boot unit reads it.
pub const NODE_FILE: &str = "/etc/ewulf/node.env";

/// What a node must know before it can reach anyone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfiguration {
    pub cluster: String,
    pub role: Role,
    pub master_address: Ipv4Addr,
    /// Network of the cluster: exports and MPI are confined to it.
    pub cidr: Ipv4Network,
    pub shared_path: String,
    /// Device name of the shared volume on the master.
    pub shared_device: Option<String>,
}

/// Renders the cloud-config that writes [`NODE_FILE`]: lines of `KEY='value'` for a POSIX shell.
///
/// The file travels as base64, so that no value can break out of the YAML around it.
pub fn user_data(node: &NodeConfiguration) -> String {
    let (role, group) = match &node.role {
        Role::Master => ("master", String::new()),
        Role::Worker(group) => ("worker", group.to_string()),
    };
    let mut file = String::new();
    for (key, value) in [
        ("EWULF_CLUSTER", node.cluster.as_str()),
        ("EWULF_ROLE", role),
        ("EWULF_GROUP", &group),
        ("EWULF_MASTER_ADDRESS", &node.master_address.to_string()),
        ("EWULF_CIDR", &node.cidr.to_string()),
        ("EWULF_SHARED_PATH", &node.shared_path),
        ("EWULF_SHARED_DEVICE", node.shared_device.as_deref().unwrap_or_default()),
    ] {
        writeln!(file, "{key}='{}'", value.replace('\'', r"'\''")).expect("writing to a String cannot fail");
    }
    format!(
        "#cloud-config\nwrite_files:\n- path: {NODE_FILE}\n  owner: root:root\n  permissions: '0644'\n  encoding: b64\n  content: {}\n",
        base64(file.as_bytes())
    )
}

/// Encodes bytes in the standard base64 alphabet with padding (RFC 4648).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for position in 0..4 {
            if position <= chunk.len() {
                text.push(char::from(ALPHABET[(word >> (18 - 6 * position)) as usize & 63]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_matches_the_vectors_of_rfc_4648() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }
}
