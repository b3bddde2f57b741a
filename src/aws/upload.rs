//! Files to nodes through SSM alone: compressed, cut into chunks, checked, put in place atomically.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};

use super::{CallError, Cloud, Script};

/// Characters of payload in one command: scripts under about 8 KB are safe (ec2.md 7.7).
const CHUNK: usize = 8_000;
/// Commands in flight at once: an agent runs five (ec2.md 7.10).
const PARALLEL: usize = 4;

impl Cloud {
    /// Writes `content` to the absolute path `target` on every node: mode `mode`, owner root. `progress` gets (sent, all).
    pub async fn upload(
        &self,
        instance_ids: &[String],
        content: &[u8],
        target: &str,
        mode: u32,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<(), CallError> {
        let packed = STANDARD.encode(compress(content));
        let digest: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
        let folder = format!("/var/tmp/ewulf-upload-{}", &digest[..16]);
        let chunks: Vec<&str> = packed.as_bytes().chunks(CHUNK).map(ascii).collect();
        let finish = format!(
            "cat {folder}/* | base64 -d | gunzip > {folder}.whole\n\
             echo '{digest}  {folder}.whole' | sha256sum -c --quiet -\n\
             chmod {mode:o} {folder}.whole\nmkdir -p -- \"$(dirname -- {path})\"\nmv -f -- {folder}.whole {path}\nrm -rf {folder}\n",
            path = shell_quote(target),
        );
        let all = chunks.len();
        // A small file needs no more than one command.
        if let [only] = chunks.as_slice() {
            let body = format!("mkdir -p {folder}\nprintf %s '{only}' > {folder}/00000\n{finish}");
            self.expect_success(instance_ids, &Script::new(format!("write {target}"), body)).await?;
            progress(1, 1);
            return Ok(());
        }
        let mut sent = 0;
        for group in chunks.iter().enumerate().collect::<Vec<_>>().chunks(PARALLEL) {
            let mut tasks = tokio::task::JoinSet::new();
            for (index, chunk) in group {
                let body = format!("mkdir -p {folder}\nprintf %s '{chunk}' > {folder}/{index:05}\n");
                let script = Script::new(format!("chunk {} of {all} of {target}", index + 1), body);
                let (cloud, ids) = (self.clone(), instance_ids.to_vec());
                tasks.spawn(async move { cloud.expect_success(&ids, &script).await });
            }
            while let Some(done) = tasks.join_next().await {
                done.map_err(|error| CallError::unexpected("SendCommand", target, error.to_string()))??;
                sent += 1;
                progress(sent, all);
            }
        }
        self.expect_success(instance_ids, &Script::new(format!("write {target}"), finish)).await
    }

    /// Runs a script that must succeed on every node; the error names the node and shows its last lines.
    pub async fn expect_success(&self, instance_ids: &[String], script: &Script) -> Result<(), CallError> {
        for outcome in self.run_on(instance_ids, script).await? {
            if !outcome.is_success() {
                return Err(CallError::unexpected(
                    "SendCommand",
                    format!("{}: {}", outcome.instance_id, script.comment),
                    format!("{:?} with status {}\n{}", outcome.status, outcome.exit, outcome.tail(12)),
                ));
            }
        }
        Ok(())
    }
}

fn compress(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).and_then(|()| encoder.finish()).expect("writing to memory cannot fail")
}

fn ascii(chunk: &[u8]) -> &str {
    std::str::from_utf8(chunk).expect("base64 is ASCII")
}

/// Quotes one word for a POSIX shell.
pub fn shell_quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
