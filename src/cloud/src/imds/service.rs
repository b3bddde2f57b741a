//! One metadata request: session tokens, versions, status codes.

use std::net::Ipv4Addr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use jiff::Timestamp;
use sha2::Sha256;

use super::tree;
use crate::cloud::Cloud;
use crate::model::ec2::Ec2;

const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN: &str = "x-aws-ec2-metadata-token";

/// Seconds that a session token may live.
const TTLS: std::ops::RangeInclusive<i64> = 1..=21_600;

/// What session tokens are made with; new with each server, whose clients then ask for a new token.
pub(super) struct Key([u8; 32]);

impl Default for Key {
    fn default() -> Self {
        Self(rand::random())
    }
}

impl Key {
    /// A token for this instance until then. It carries its own proof, so none needs to be remembered.
    fn token(&self, instance_id: &str, until: i64) -> String {
        let mut token = until.to_be_bytes().to_vec();
        token.extend(self.proof(instance_id, &until.to_be_bytes()).finalize().into_bytes());
        URL_SAFE_NO_PAD.encode(token)
    }

    fn admits(&self, token: &[u8], instance_id: &str, now: i64) -> bool {
        let Ok(token) = URL_SAFE_NO_PAD.decode(token) else { return false };
        let Some((until, proof)) = token.split_first_chunk::<8>() else { return false };
        // Compares in constant time.
        self.proof(instance_id, until).verify_slice(proof).is_ok() && now < i64::from_be_bytes(*until)
    }

    fn proof(&self, instance_id: &str, until: &[u8; 8]) -> Hmac<Sha256> {
        let mut mac = Hmac::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(until);
        mac.update(instance_id.as_bytes());
        mac
    }
}

type Answer = Response<Full<Bytes>>;

/// Answers a request that came from this address of the VPC; there is none whose body counts.
pub fn answer(cloud: &Cloud, vpc_id: &str, peer: Ipv4Addr, head: &Parts) -> Response<Full<Bytes>> {
    let state = cloud.state();
    let Some(instance) = state.ec2.instance_at(vpc_id, peer) else { return text(StatusCode::NOT_FOUND, "") };
    if !instance.metadata_options.http_endpoint {
        return text(StatusCode::FORBIDDEN, "");
    }
    let now = Timestamp::now().as_second();
    let key = &cloud.metadata.key;
    let path = head.uri.path();
    if head.method == Method::PUT {
        return match path.trim_end_matches('/') {
            "/latest/api/token" => new_token(key, head, &instance.id, now),
            _ => text(StatusCode::METHOD_NOT_ALLOWED, ""),
        };
    }
    if head.method != Method::GET && head.method != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "");
    }
    let token = head.headers.get(TOKEN).map(HeaderValue::as_bytes).unwrap_or_default();
    if !key.admits(token, &instance.id, now) {
        return text(StatusCode::UNAUTHORIZED, "");
    }
    read(&state.ec2, &instance.id, path)
}

/// Makes a session token. A request that a proxy handed on is refused: it may come from outside the node.
fn new_token(key: &Key, head: &Parts, instance_id: &str, now: i64) -> Answer {
    if head.headers.contains_key("x-forwarded-for") {
        return text(StatusCode::FORBIDDEN, "");
    }
    let seconds = head.headers.get(TTL).and_then(|value| value.to_str().ok()?.parse::<i64>().ok());
    let Some(seconds) = seconds.filter(|seconds| TTLS.contains(seconds)) else {
        return text(StatusCode::BAD_REQUEST, "");
    };
    let mut answer = text(StatusCode::OK, key.token(instance_id, now + seconds));
    answer.headers_mut().insert(TTL, HeaderValue::from(seconds));
    answer
}

/// The leaf or listing at this path.
fn read(ec2: &Ec2, instance_id: &str, path: &str) -> Answer {
    let path = path.trim_start_matches('/');
    if path.is_empty() {
        return text(StatusCode::OK, tree::VERSIONS.join("\n"));
    }
    let (version, rest) = path.split_once('/').unwrap_or((path, ""));
    let Some(instance) = ec2.instance(instance_id).filter(|_| tree::VERSIONS.contains(&version)) else {
        return text(StatusCode::NOT_FOUND, "");
    };
    match tree::read(ec2, instance, rest, Timestamp::now()) {
        Some(content) => text(StatusCode::OK, content),
        None => text(StatusCode::NOT_FOUND, ""),
    }
}

fn text(status: StatusCode, content: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(content.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    answer
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::BodyExt;
    use hyper::Request;

    use super::*;
    use crate::cloud::State;
    use crate::config::Config;
    use crate::model::ec2::PUBLIC_IMAGES;
    use crate::node::records::Records;
    use crate::operations;
    use crate::store::Log;
    use crate::wire::query::Query;

    struct Node {
        cloud: Arc<Cloud>,
        vpc_id: String,
        address: Ipv4Addr,
        _folder: tempfile::TempDir,
    }

    impl Node {
        /// Launches one instance of records with these further parameters.
        async fn launch(parameters: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let config = Config { records: true, ..Config::new(folder.path(), folder.path()) };
            let log = Log::open(config.files(), config.owner_uid).unwrap();
            let (driver, _events) = Records::new(folder.path());
            let mut state = State::default();
            state.ec2.seed(&config.region, &config.account);
            let cloud = Cloud::new(config, Arc::new(driver), state, log);
            let form = format!(
                "Action=RunInstances&ImageId={}&InstanceType=t3.micro&MinCount=1&MaxCount=1{parameters}",
                PUBLIC_IMAGES[0].id
            );
            operations::ec2::call(&cloud, "RunInstances", &Query::parse(&form).unwrap()).await.unwrap();
            let (vpc_id, address) = {
                let state = cloud.state();
                let instance = state.ec2.instances().next().unwrap();
                (instance.vpc_id.clone(), instance.private_address)
            };
            Self { cloud, vpc_id, address, _folder: folder }
        }

        async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
            self.ask_from(self.address, method, path, headers).await
        }

        async fn ask_from(&self, peer: Ipv4Addr, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
            let mut request = Request::builder().method(method).uri(path);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let (head, ()) = request.body(()).unwrap().into_parts();
            let answer = answer(&self.cloud, &self.vpc_id, peer, &head);
            let status = answer.status().as_u16();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8(body.to_vec()).unwrap())
        }

        async fn token(&self) -> String {
            self.ask("PUT", "/latest/api/token", &[(TTL, "60")]).await.1
        }

        async fn get(&self, path: &str) -> (u16, String) {
            let token = self.token().await;
            self.ask("GET", path, &[(TOKEN, &token)]).await
        }
    }

    #[tokio::test]
    async fn nothing_is_read_without_a_token_of_the_same_instance() {
        let node = Node::launch("").await;
        let path = "/latest/meta-data/instance-id";
        assert_eq!(node.ask("GET", path, &[]).await.0, 401);
        assert_eq!(node.ask("GET", path, &[(TOKEN, "x")]).await.0, 401);
        let foreign = node.cloud.metadata.key.token("i-other", i64::MAX);
        assert_eq!(node.ask("GET", path, &[(TOKEN, &foreign)]).await.0, 401);
        let expired = node.cloud.metadata.key.token(&node.get(path).await.1, 1);
        assert_eq!(node.ask("GET", path, &[(TOKEN, &expired)]).await.0, 401);
        assert!(node.get(path).await.1.starts_with("i-"));
        assert_eq!(node.ask_from(Ipv4Addr::new(10, 9, 9, 9), "GET", path, &[]).await.0, 404);
    }

    #[tokio::test]
    async fn tokens_need_a_lifetime_in_bounds_and_no_proxy() {
        let node = Node::launch("").await;
        let path = "/latest/api/token";
        for (headers, status) in [
            (&[][..], 400),
            (&[(TTL, "0")], 400),
            (&[(TTL, "21601")], 400),
            (&[(TTL, "21600")], 200),
            (&[(TTL, "60"), ("X-Forwarded-For", "10.0.0.1")], 403),
        ] {
            assert_eq!(node.ask("PUT", path, headers).await.0, status, "{headers:?}");
        }
    }

    #[tokio::test]
    async fn the_tree_is_what_cloud_init_crawls() {
        let node = Node::launch("&UserData=I2Nsb3VkLWNvbmZpZwo=").await;
        let listing = node.get("/2021-03-23/meta-data/").await.1;
        for entry in ["ami-id", "instance-id", "instance-type", "local-hostname", "local-ipv4", "network/", "placement/"] {
            assert!(listing.lines().any(|line| line == entry), "{entry} in {listing}");
        }
        assert_eq!(node.get("/latest/meta-data/local-ipv4").await.1, node.address.to_string());
        assert_eq!(node.get("/latest/meta-data/placement/region").await.1, "us-east-1");
        assert_eq!(node.get("/latest/user-data").await, (200, "#cloud-config\n".to_owned()));
        let macs = node.get("/latest/meta-data/network/interfaces/macs/").await.1;
        let mac = node.get("/latest/meta-data/mac").await.1;
        assert_eq!(macs, format!("{mac}/"));
        let addresses = node.get(&format!("/latest/meta-data/network/interfaces/macs/{mac}/local-ipv4s")).await.1;
        assert_eq!(addresses, node.address.to_string());
        assert_eq!(node.get("/latest/meta-data/public-keys/").await.0, 404);
        assert_eq!(node.get("/1999-01-01/meta-data/").await.0, 404);
        let document = node.get("/latest/dynamic/instance-identity/document").await.1;
        assert!(document.contains("\"region\" : \"us-east-1\"") || document.contains("\"region\": \"us-east-1\""), "{document}");
    }

    #[tokio::test]
    async fn the_key_of_the_launch_is_listed_by_number_and_name() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGbEFK0vHMGlkM41C/Zax9DDlHFRt52VvCsnMGUngzo5";
        let node = Node::launch("").await;
        {
            let ec2 = &mut node.cloud.state().ec2;
            let instance = ec2.instances.values_mut().next().unwrap();
            instance.key_name = Some("mine".to_owned());
            instance.public_key = Some(format!("{key} mine"));
        }
        assert_eq!(node.get("/latest/meta-data/public-keys/").await, (200, "0=mine".to_owned()));
        assert_eq!(node.get("/latest/meta-data/public-keys/0/").await, (200, "openssh-key".to_owned()));
        let leaf = node.get("/latest/meta-data/public-keys/0/openssh-key").await;
        assert_eq!(leaf, (200, format!("{key} mine\n")));
        assert!(node.get("/latest/meta-data/").await.1.lines().any(|line| line == "public-keys/"));
    }

    #[tokio::test]
    async fn a_public_address_is_told_with_what_it_stands_for() {
        let node = Node::launch("").await;
        let public = node.get("/latest/meta-data/public-ipv4").await.1;
        let dashes = public.replace('.', "-");
        let name = format!("ec2-{dashes}.compute-1.amazonaws.com");
        assert_eq!(node.get("/latest/meta-data/public-hostname").await, (200, name));
        let mac = node.get("/latest/meta-data/mac").await.1;
        let below = format!("/latest/meta-data/network/interfaces/macs/{mac}");
        assert_eq!(node.get(&format!("{below}/public-ipv4s")).await, (200, public.clone()));
        let private = node.get(&format!("{below}/ipv4-associations/{public}")).await;
        assert_eq!(private, (200, node.address.to_string()));
    }

    #[tokio::test]
    async fn a_spot_instance_is_told_of_its_end_from_its_notice_on() {
        let node = Node::launch("&InstanceMarketOptions.MarketType=spot").await;
        let (action, time) = ("/latest/meta-data/spot/instance-action", "/latest/meta-data/spot/termination-time");
        let set = |noticed: Timestamp| {
            let mut state = node.cloud.state();
            let at = "2040-01-02T03:04:05Z".parse().unwrap();
            let instance = state.ec2.instances.values_mut().next().unwrap();
            instance.fate.interruption = Some(crate::model::ec2::Interruption { noticed, at });
        };
        assert_eq!(node.get(action).await.0, 404);
        set("2039-01-01T00:00:00Z".parse().unwrap());
        assert_eq!((node.get(action).await.0, node.get(time).await.0), (404, 404));
        set(Timestamp::now());
        assert_eq!(node.get(time).await.1, "2040-01-02T03:04:05Z");
        let told: serde_json::Value = serde_json::from_str(&node.get(action).await.1).unwrap();
        assert_eq!(told, serde_json::json!({ "action": "terminate", "time": "2040-01-02T03:04:05Z" }));
    }

    #[tokio::test]
    async fn absent_user_data_is_not_found_and_tags_are_shown_on_request_alone() {
        let tag = "&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value=n1";
        let hidden = Node::launch(tag).await;
        assert_eq!(hidden.get("/latest/user-data").await.0, 404);
        assert_eq!(hidden.get("/latest/meta-data/tags/instance/Name").await.0, 404);
        let shown = Node::launch(&format!("{tag}&MetadataOptions.InstanceMetadataTags=enabled")).await;
        assert_eq!(shown.get("/latest/meta-data/tags/instance/Name").await, (200, "n1".to_owned()));
    }

    #[test]
    fn any_request_of_any_peer_is_answered() {
        use proptest::prelude::*;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let node = runtime.block_on(Node::launch("&MetadataOptions.InstanceMetadataTags=enabled"));
        let token = runtime.block_on(node.token());
        let method = prop_oneof![Just("GET"), Just("PUT"), Just("HEAD"), Just("POST"), Just("BREW")];
        let part = prop_oneof![
            Just("latest".to_owned()),
            Just("meta-data".to_owned()),
            Just("network/interfaces/macs".to_owned()),
            Just("tags/instance".to_owned()),
            Just("user-data".to_owned()),
            Just("api/token".to_owned()),
            Just("..".to_owned()),
            Just(String::new()),
            "[!-~&&[^?#]]{0,8}",
        ];
        let path = prop::collection::vec(part, 0..6).prop_map(|parts| format!("/{}", parts.join("/")));
        let header = prop_oneof![Just(token), "[ -~]{0,60}", Just("A".repeat(54)), Just("-1".to_owned()), Just("60".to_owned())];
        let inputs = (method, path, header.clone(), header, any::<bool>());
        proptest!(|((method, path, ttl, token, is_node) in inputs)| {
            let peer = if is_node { node.address } else { Ipv4Addr::new(10, 9, 9, 9) };
            prop_assume!(path.parse::<hyper::Uri>().is_ok());
            let (status, body) = runtime.block_on(node.ask_from(peer, method, &path, &[(TTL, &ttl), (TOKEN, &token)]));
            prop_assert!([200, 400, 401, 403, 404, 405].contains(&status), "{} {}: {} {}", method, path, status, body);
            prop_assert!(is_node || status == 404);
        });
    }
}
