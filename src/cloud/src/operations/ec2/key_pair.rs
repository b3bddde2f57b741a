//! Key pairs.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::admission::admit_structure;
use super::filter::Filters;
use super::turn::{self, Operation, Turn, put_tags, tags_for, wire_time};
use crate::cloud::Cloud;
use crate::model::ec2::{Ec2, KeyKind, KeyPair, PublicKey, created_rsa_fingerprint, new_id};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::write("ImportKeyPair", import, &["KeyName", "PublicKeyMaterial", "TagSpecification"]),
    Operation::read("DescribeKeyPairs", describe, &["KeyName", "KeyPairId", "IncludePublicKey", "Filter"]),
    Operation::write("DeleteKeyPair", delete, &["KeyName", "KeyPairId"]),
];

/// The key pair of this name.
pub(super) fn by_name<'a>(ec2: &'a Ec2, name: &str) -> Result<&'a KeyPair, ApiError> {
    ec2.key_pairs
        .values()
        .find(|pair| pair.name == name)
        .ok_or_else(|| ApiError::new("InvalidKeyPair.NotFound", format!("The key pair '{name}' does not exist")))
}

/// A name for a new pair: at most 255 ASCII characters, not taken.
fn new_name<'a>(ec2: &Ec2, query: &'a Query) -> Result<&'a str, ApiError> {
    let name = query.required("KeyName")?;
    let printable = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    if name.len() > 255 || !name.bytes().all(printable) {
        return Err(ApiError::invalid_value(
            "Invalid value for KeyName: at most 255 ASCII characters that can be printed are allowed.",
        ));
    }
    if name != name.trim() {
        return Err(ApiError::invalid_value("Invalid value for KeyName: leading and trailing spaces are not allowed."));
    }
    if by_name(ec2, name).is_ok() {
        return Err(ApiError::new("InvalidKeyPair.Duplicate", format!("The keypair '{name}' already exists.")));
    }
    Ok(name)
}

/// What [`create`] accepts.
pub(super) const PARAMETERS: [&str; 7] = ["KeyName", "KeyType", "KeyFormat", "TagSpecification", "Action", "Version", "DryRun"];

/// `CreateKeyPair`: outside the model's lock, since an RSA key takes a moment to find.
pub(super) async fn create(cloud: &Arc<Cloud>, query: &Query) -> Result<Xml, ApiError> {
    admit_structure(query, &PARAMETERS, &[], &[])?;
    query.required("KeyName")?;
    let kind = match query.text("KeyType") {
        None | Some("rsa") => KeyKind::Rsa,
        Some("ed25519") => KeyKind::Ed25519,
        Some(other) => return Err(ApiError::invalid_value(format!("Value ({other}) for parameter keyType is invalid."))),
    };
    match query.text("KeyFormat") {
        None | Some("pem") => {}
        Some("ppk") => return Err(ApiError::unsupported_parameter("KeyFormat=ppk")),
        Some(other) => return Err(ApiError::invalid_value(format!("Value ({other}) for parameter keyFormat is invalid."))),
    }
    let name = new_name(&cloud.state().ec2, query)?;
    let tags = tags_for(query, "key-pair")?;
    if query.boolean("DryRun")?.unwrap_or(false) {
        return Err(ApiError::dry_run());
    }
    let generated = generate(&cloud.config.state_dir, kind).await?;
    let pair = KeyPair {
        id: new_id("key"),
        name: name.to_owned(),
        kind,
        fingerprint: generated.fingerprint,
        public_key: generated.public.line(name),
        created: Timestamp::now(),
        tags,
    };
    let mut body = Xml::new();
    put_made(&mut body, &pair);
    body.put("keyMaterial", generated.private);
    {
        let ec2 = &mut cloud.state().ec2;
        // Someone else may have taken the name meanwhile.
        new_name(ec2, query)?;
        ec2.key_pairs.insert(pair.id.clone(), pair);
    }
    cloud.changed();
    Ok(body)
}

/// A key that was just made.
struct Generated {
    public: PublicKey,
    /// PKCS#1 PEM for RSA, OpenSSH's form for ED25519, as EC2 hands them out.
    private: String,
    fingerprint: String,
}

/// Makes a key with OpenSSH's own program, in a folder that no one else can read and that is gone afterwards.
async fn generate(state_dir: &Path, kind: KeyKind) -> Result<Generated, ApiError> {
    let folder = state_dir.join(new_id("new-key"));
    let failed = |what: &str| ApiError::internal(format!("key pair not made: {what}"));
    std::fs::DirBuilder::new().mode(0o700).create(&folder).map_err(|error| failed(&error.to_string()))?;
    let output = tokio::process::Command::new("ssh-keygen")
        .args(["-q", "-N", "", "-C", "", "-t", kind.wire()])
        // EC2's RSA keys have 2048 bits and PKCS#1 PEM; the form of ED25519 keys is OpenSSH's whatever is asked.
        .args(match kind {
            KeyKind::Rsa => &["-b", "2048", "-m", "PEM"][..],
            KeyKind::Ed25519 => &[],
        })
        .arg("-f")
        .arg(folder.join("key"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await;
    let read = |name: &str| std::fs::read_to_string(folder.join(name));
    let files = read("key").and_then(|private| Ok((private, read("key.pub")?)));
    // Whatever came of it: a private key must not stay.
    let removed = std::fs::remove_dir_all(&folder);
    let output = output.map_err(|error| failed(&format!("ssh-keygen: {error}; hint: sudo apt-get install openssh-client")))?;
    if !output.status.success() {
        return Err(failed(&format!("ssh-keygen: {}", String::from_utf8_lossy(&output.stderr).trim())));
    }
    removed.map_err(|error| failed(&error.to_string()))?;
    let (private, public) = files.map_err(|error| failed(&error.to_string()))?;
    let public = PublicKey::parse(&public).ok_or_else(|| failed("ssh-keygen wrote no public key"))?;
    let fingerprint = match kind {
        KeyKind::Ed25519 => public.imported_fingerprint(),
        KeyKind::Rsa => created_rsa_fingerprint(&private).ok_or_else(|| failed("ssh-keygen wrote no PEM"))?,
    };
    Ok(Generated { public, private, fingerprint })
}

/// Writes what Create and Import both answer.
fn put_made(xml: &mut Xml, pair: &KeyPair) {
    xml.put("keyPairId", &pair.id).put("keyName", &pair.name).put("keyFingerprint", &pair.fingerprint);
    put_tags(xml, &pair.tags);
}

fn import(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let material = query.required("PublicKeyMaterial")?;
    let name = new_name(turn.ec2, query)?;
    let malformed = || ApiError::new("InvalidKey.Format", "Key is not in valid OpenSSH public key format");
    let compact: String = material.chars().filter(|character| !character.is_ascii_whitespace()).collect();
    let text = STANDARD.decode(compact).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(malformed)?;
    let public = PublicKey::parse(&text).ok_or_else(malformed)?;
    let pair = KeyPair {
        id: new_id("key"),
        name: name.to_owned(),
        kind: public.kind,
        fingerprint: public.imported_fingerprint(),
        public_key: public.line(name),
        created: turn.now,
        tags: tags_for(query, "key-pair")?,
    };
    let mut xml = Xml::new();
    put_made(&mut xml, &pair);
    turn.ec2.key_pairs.insert(pair.id.clone(), pair);
    Ok(xml)
}

fn describe(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let filters = Filters::read(query, &["tag", "key-pair-id", "fingerprint", "key-name"])?;
    let with_public = query.boolean("IncludePublicKey")?.unwrap_or(false);
    let (names, ids) = (query.list("KeyName"), query.list("KeyPairId"));
    let ec2 = &*turn.ec2;
    names.iter().try_for_each(|name| by_name(ec2, name).map(|_| ()))?;
    turn::KEY_PAIR.asked(&ec2.key_pairs, &ids)?;
    let asked = |pair: &KeyPair| {
        (names.is_empty() && ids.is_empty()) || names.contains(&pair.name.as_str()) || ids.contains(&pair.id.as_str())
    };
    let found = ec2.key_pairs.values().filter(|pair| asked(pair)).filter(|pair| {
        filters.admit(&pair.tags, |name| {
            vec![match name {
                "key-pair-id" => pair.id.clone(),
                "fingerprint" => pair.fingerprint.clone(),
                _ => pair.name.clone(),
            }]
        })
    });
    let mut xml = Xml::new();
    xml.list("keySet", found, |xml, pair| {
        put_made(xml, pair);
        xml.put("keyType", pair.kind.wire())
            .put("createTime", wire_time(pair.created))
            .maybe("publicKey", with_public.then_some(&pair.public_key));
    });
    Ok(xml)
}

/// By name or id; one that is not there is no error.
fn delete(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let (name, id) = (query.text("KeyName"), query.text("KeyPairId"));
    if name.is_none() && id.is_none() {
        return Err(ApiError::missing_parameter("KeyName or KeyPairId"));
    }
    if name.is_some() && id.is_some() {
        return Err(ApiError::invalid_combination("KeyName and KeyPairId may not both be specified"));
    }
    id.map_or(Ok(()), |id| turn::KEY_PAIR.check(id))?;
    let gone =
        turn.ec2.key_pairs.values().find(|pair| name == Some(&pair.name) || id == Some(&pair.id)).map(|pair| pair.id.clone());
    let mut xml = turn::done();
    if let Some(gone) = gone {
        turn.ec2.key_pairs.remove(&gone);
        xml.put("keyPairId", gone);
    }
    Ok(xml)
}

/// Name and public key that a launch gives its instances.
pub(super) fn launch_key(ec2: &Ec2, query: &Query) -> Result<Option<(String, String)>, ApiError> {
    let Some(name) = query.text("KeyName").filter(|name| !name.is_empty()) else { return Ok(None) };
    let pair = by_name(ec2, name)?;
    Ok(Some((pair.name.clone(), pair.public_key.clone())))
}
