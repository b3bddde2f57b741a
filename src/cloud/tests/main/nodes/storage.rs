//! Layers, volumes and shared folders.

use ewulf_cloud::node::{Driver, NodeDevice, NodeShare};

use super::ground::{Ground, node, vpc, wanted};

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_layer_is_the_ground_of_other_nodes() {
    if !wanted("layers") {
        return;
    }
    let ground = Ground::new().await;
    let vpc = vpc("layer", "10.7.0.0/24", &["10.7.0.0/24"]);
    let [builder, copy] = [node("builder", &vpc, 0, [10, 7, 0, 4]), node("copy", &vpc, 0, [10, 7, 0, 5])];
    ground.open_network(&vpc, &[builder.address, copy.address]).await;
    ground.boot(&builder).await;
    ground.wait_up(&builder).await;
    ground.shell(&builder, "echo baked > /opt/baked; rm /usr/bin/less; mv /usr/share/zoneinfo /usr/share/zones").await;
    assert!(ground.driver.freeze_layer("i-builder", "ami-1").await.is_err(), "a running node is not frozen");
    ground.driver.stop("i-builder", false).await.unwrap();
    ground.driver.freeze_layer("i-builder", "ami-1").await.unwrap();
    ground.driver.freeze_layer("i-builder", "ami-1").await.unwrap();
    // A node on the layer, changed and frozen again; the first goes on where it was.
    let layers = ["debian-13", "ami-1"].map(str::to_owned);
    ground.driver.create_root("i-copy", &layers).await.unwrap();
    tokio::join!(async { ground.driver.boot(&copy).await.unwrap() }, async { ground.driver.boot(&builder).await.unwrap() });
    for node in [&builder, &copy] {
        ground.wait_up(node).await;
        let seen =
            "cat /opt/baked; test ! -e /usr/bin/less && test ! -e /usr/share/zoneinfo && ls /usr/share/zones | grep -c Etc";
        assert_eq!(ground.shell(node, seen).await, "baked\n1");
    }
    ground.shell(&copy, "echo again > /opt/baked").await;
    assert_eq!(ground.shell(&builder, "cat /opt/baked").await, "baked", "nodes on one layer do not see each other's changes");
    assert!(ground.driver.delete_layer("ami-1").await.is_err(), "nodes stand on the layer");
    ground.driver.stop("i-copy", true).await.unwrap();
    ground.driver.freeze_layer("i-copy", "ami-2").await.unwrap();
    for id in ["i-copy", "i-builder"] {
        ground.driver.destroy(id).await.unwrap();
        assert!(!ground.folder.path().join("nodes").join(id).exists());
    }
    ground.driver.delete_layer("ami-1").await.unwrap();
    assert!(ground.driver.create_root("i-copy", &layers).await.is_err(), "the layer is gone");
    ground.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_hold_file_systems_through_reboots_snapshots_and_growth() {
    if !wanted("volumes") {
        return;
    }
    let ground = Ground::new().await;
    let vpc = vpc("disk", "10.8.0.0/24", &["10.8.0.0/24"]);
    let mut node = node("disk", &vpc, 0, [10, 8, 0, 4]);
    let device = |volume: &str, name: &str| NodeDevice { volume_id: volume.to_owned(), device: name.to_owned() };
    node.devices = vec![device("vol-01", "/dev/sdf")];
    ground.driver.create_volume("vol-01", 1, None).await.unwrap();
    ground.driver.create_volume("vol-01", 1, None).await.unwrap();
    ground.open_network(&vpc, &[node.address]).await;
    ground.boot(&node).await;
    ground.wait_up(&node).await;
    let link = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol01";
    assert_eq!(ground.shell(&node, &format!("readlink -f {link}; blockdev --getsize64 /dev/sdf")).await, "/dev/sdf\n1073741824");
    assert!(!ground.succeeds(&node, "blkid /dev/sdf").await, "a new volume is blank");
    ground.shell(&node, "mkfs.ext4 -q /dev/sdf && mount /dev/sdf /mnt && echo kept > /mnt/file").await;
    // A snapshot of a mounted volume is what was written by then.
    ground.shell(&node, "sync -f /mnt").await;
    ground.driver.snapshot_volume("vol-01", "snap-1").await.unwrap();
    ground.shell(&node, "echo later > /mnt/file").await;
    ground.driver.create_volume("vol-02", 2, Some("snap-1")).await.unwrap();
    // Attached and grown live, and there again after a reboot.
    ground.driver.attach_volume("i-disk", &device("vol-02", "/dev/sdg")).await.unwrap();
    ground.driver.attach_volume("i-disk", &device("vol-02", "/dev/sdg")).await.unwrap();
    let read = "mkdir -p /media/copy && mount /dev/sdg /media/copy && cat /media/copy/file; umount /media/copy";
    assert_eq!(ground.shell(&node, read).await, "kept");
    ground.driver.grow_volume("vol-02", 3).await.unwrap();
    assert_eq!(ground.shell(&node, "blockdev --getsize64 /dev/sdg").await, (3u64 << 30).to_string());
    ground.driver.reboot("i-disk").await.unwrap();
    ground.wait_up(&node).await;
    assert_eq!(ground.shell(&node, "mount /dev/sdf /mnt && cat /mnt/file; umount /mnt").await, "later");
    assert_eq!(ground.shell(&node, read).await, "kept");
    ground.driver.detach_volume("i-disk", &device("vol-02", "/dev/sdg")).await.unwrap();
    ground.driver.detach_volume("i-disk", &device("vol-02", "/dev/sdg")).await.unwrap();
    assert!(!ground.succeeds(&node, "test -e /dev/sdg").await);
    // A volume outlives its node.
    ground.driver.destroy("i-disk").await.unwrap();
    let size = |name: &str| std::fs::metadata(ground.folder.path().join(name)).map(|found| found.len()).ok();
    assert_eq!(size("volumes/vol-01.img"), Some(1 << 30));
    for id in ["vol-01", "vol-02"] {
        ground.driver.delete_volume(id).await.unwrap();
        assert_eq!(size(&format!("volumes/{id}.img")), None);
    }
    ground.driver.delete_volume_snapshot("snap-1").await.unwrap();
    ground.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_with_one_share_see_one_folder_from_their_start() {
    if !wanted("shares") {
        return;
    }
    let ground = Ground::new().await;
    let vpc = vpc("share", "10.9.0.0/24", &["10.9.0.0/24"]);
    let share = |key: &str| vec![NodeShare { key: key.to_owned(), path: "/shared".to_owned() }];
    let [mut one, mut two, mut other] =
        [("one", 4), ("two", 5), ("other", 6)].map(|(id, last)| node(id, &vpc, 0, [10, 9, 0, last]));
    (one.shares, two.shares, other.shares) = (share("demo:/shared"), share("demo:/shared"), share("demo/shared"));
    ground.open_network(&vpc, &[one.address, two.address, other.address]).await;
    tokio::join!(ground.boot(&one), ground.boot(&two), ground.boot(&other));
    for node in [&one, &two, &other] {
        ground.wait_up(node).await;
        assert_eq!(ground.shell(node, "mountpoint -q /shared && stat -c %U:%a /shared").await, "root:755");
    }
    ground.shell(&one, "echo hello > /shared/file").await;
    assert_eq!(ground.shell(&two, "cat /shared/file").await, "hello");
    assert!(!ground.succeeds(&other, "test -e /shared/file").await);
    for id in ["i-one", "i-two"] {
        ground.driver.destroy(id).await.unwrap();
    }
    let shares = || std::fs::read_dir(ground.folder.path().join("shares")).unwrap().count();
    assert_eq!(shares(), 2);
    ground.driver.delete_share("demo:/shared").await.unwrap();
    ground.driver.delete_share("demo:/shared").await.unwrap();
    assert_eq!(shares(), 1);
    ground.finish().await;
}
