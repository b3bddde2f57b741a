"""The EBS direct API: snapshots written and read block by block (ec2.md 8.6 and 8.7)."""

import base64
import hashlib

from kit import scenario
from things import ZONE, volume

BLOCK = 524288


def digest(data):
    return hashlib.sha256(data).digest()


def encoded(sum):
    return base64.b64encode(sum).decode()


def put(cloud, snapshot, index, data, **changes):
    """The parameters of a block."""
    sum = encoded(digest(data))
    asked = {"SnapshotId": snapshot, "BlockIndex": index, "BlockData": data, "DataLength": len(data), "Checksum": sum}
    return asked | {"ChecksumAlgorithm": "SHA256"} | changes


def write(cloud, blocks, **params):
    """A snapshot of these blocks, by index, once it is complete; its id."""
    started = cloud.call("ebs", "StartSnapshot", VolumeSize=1, **params)
    id = started["SnapshotId"]
    for index, data in sorted(blocks.items()):
        cloud.call("ebs", "PutSnapshotBlock", **put(cloud, id, index, data))
    whole = encoded(digest(b"".join(digest(data) for _, data in sorted(blocks.items()))))
    sums = {"Checksum": whole, "ChecksumAlgorithm": "SHA256", "ChecksumAggregationMethod": "LINEAR"}
    done = cloud.call("ebs", "CompleteSnapshot", SnapshotId=id, ChangedBlocksCount=len(blocks), **sums)
    assert done["Status"] in ("pending", "completed")
    cloud.wait("ec2", "SnapshotCompleted", SnapshotIds=[id])
    return id


@scenario
def a_snapshot_is_written_and_read_block_by_block(cloud):
    blocks = {index: bytes([index % 251 + 1]) * BLOCK for index in range(0, 208, 2)}
    first = write(cloud, blocks, Description="of the judge", Tags=[{"Key": "a", "Value": "b"}], Timeout=10)
    page = cloud.call("ebs", "ListSnapshotBlocks", SnapshotId=first, MaxResults=100)
    rest = cloud.call("ebs", "ListSnapshotBlocks", SnapshotId=first, MaxResults=100, NextToken=page["NextToken"])
    whole = cloud.call("ebs", "ListSnapshotBlocks", SnapshotId=first)
    found = [it["BlockIndex"] for it in page["Blocks"] + rest["Blocks"]]
    assert found == sorted(blocks) == [it["BlockIndex"] for it in whole["Blocks"]]
    assert whole["BlockSize"] == BLOCK and whole["VolumeSize"] == 1
    later = cloud.call("ebs", "ListSnapshotBlocks", SnapshotId=first, StartingBlockIndex=200)["Blocks"]
    assert [it["BlockIndex"] for it in later] == [200, 202, 204, 206]
    token = {it["BlockIndex"]: it["BlockToken"] for it in whole["Blocks"]}
    read = cloud.call("ebs", "GetSnapshotBlock", SnapshotId=first, BlockIndex=4, BlockToken=token[4])
    data = read["BlockData"].read()
    assert data == blocks[4] and read["Checksum"] == encoded(digest(data)) and read["DataLength"] == BLOCK

    changed = {0: b"x" * BLOCK, 1: b"y" * BLOCK}
    second = write(cloud, changed, ParentSnapshotId=first)
    asked = {"FirstSnapshotId": first, "SecondSnapshotId": second}
    found = cloud.call("ebs", "ListChangedBlocks", **asked)["ChangedBlocks"]
    assert [(it["BlockIndex"], "FirstBlockToken" in it) for it in found] == [(0, True), (1, False)]
    whole = cloud.call("ebs", "ListChangedBlocks", SecondSnapshotId=second)["ChangedBlocks"]
    assert len(whole) == len(blocks) + 1
    other = write(cloud, {0: b"z" * BLOCK})

    def refused(code, reason, action, **params):
        cloud.refused(code, "ebs", action, **params)
        assert reason is None or cloud.transcript[-1]["reason"] == reason, reason

    refused("ValidationException", "UNRELATED_SNAPSHOTS", "ListChangedBlocks", FirstSnapshotId=other, SecondSnapshotId=first)
    wrong = {"SnapshotId": first, "BlockIndex": 4}
    refused("ValidationException", "INVALID_BLOCK_TOKEN", "GetSnapshotBlock", BlockToken=token[6], **wrong)
    refused("ValidationException", "INVALID_PARAMETER_VALUE", "ListSnapshotBlocks", SnapshotId=first, MaxResults=99)
    refused("ValidationException", "INVALID_PAGE_TOKEN", "ListSnapshotBlocks", SnapshotId=first, NextToken="bm90aGluZw==")
    refused("ResourceNotFoundException", "SNAPSHOT_NOT_FOUND", "ListSnapshotBlocks", SnapshotId="snap-0123456789abcdef0")
    refused("ValidationException", "INVALID_SNAPSHOT_ID", "ListSnapshotBlocks", SnapshotId="snap-XYZ")
    restored = volume(cloud, SnapshotId=second, AvailabilityZone=ZONE)
    cloud.call("ec2", "DeleteVolume", VolumeId=restored)
    for id in (second, first, other):
        cloud.call("ec2", "DeleteSnapshot", SnapshotId=id)


@scenario
def a_snapshot_that_is_written_wrongly_is_refused(cloud):
    started = cloud.call("ebs", "StartSnapshot", VolumeSize=1, ClientToken="one")
    id = started["SnapshotId"]
    assert started["BlockSize"] == BLOCK and started["Status"] == "pending"
    assert cloud.call("ebs", "StartSnapshot", VolumeSize=1, ClientToken="one")["SnapshotId"] == id
    cloud.refused("ConflictException", "ebs", "StartSnapshot", VolumeSize=2, ClientToken="one")
    data = b"a" * BLOCK

    def refused(reason, action, **params):
        cloud.refused("ValidationException", "ebs", action, **params)
        found = cloud.transcript[-1]["reason"]
        assert found == reason, f"{found} instead of {reason}"

    refused("INVALID_BLOCK", "PutSnapshotBlock", **put(cloud, id, 2048, data))
    refused("INVALID_BLOCK", "PutSnapshotBlock", **put(cloud, id, 0, data[:-1]))
    refused("INVALID_BLOCK", "PutSnapshotBlock", **put(cloud, id, 0, data, Checksum=encoded(digest(b"b"))))
    refused("INVALID_VOLUME_SIZE", "StartSnapshot", VolumeSize=65537)
    refused("INVALID_PARAMETER_VALUE", "StartSnapshot", VolumeSize=1, Timeout=9)
    refused("INVALID_TAG", "StartSnapshot", VolumeSize=1, Tags=[{"Key": "aws:x", "Value": "y"}])
    both = {"ParentSnapshotId": id, "Encrypted": True}
    refused("INVALID_PARAMETER_VALUE", "StartSnapshot", VolumeSize=1, **both)
    # The last write of a block counts, so a write may be repeated.
    for _ in range(2):
        cloud.call("ebs", "PutSnapshotBlock", **put(cloud, id, 0, data))
    sums = {
        "Checksum": encoded(digest(digest(b"wrong"))),
        "ChecksumAlgorithm": "SHA256",
        "ChecksumAggregationMethod": "LINEAR",
    }
    refused("INVALID_PARAMETER_VALUE", "CompleteSnapshot", SnapshotId=id, ChangedBlocksCount=1, **sums)
    refused("INVALID_PARAMETER_VALUE", "CompleteSnapshot", SnapshotId=id, ChangedBlocksCount=2)
    cloud.call("ebs", "CompleteSnapshot", SnapshotId=id, ChangedBlocksCount=1)
    cloud.wait("ec2", "SnapshotCompleted", SnapshotIds=[id])
    refused("INVALID_SNAPSHOT_ID", "PutSnapshotBlock", **put(cloud, id, 0, data))
    cloud.call("ec2", "DeleteSnapshot", SnapshotId=id)


@scenario
def a_hundred_snapshots_are_written_at_once_at_most(cloud):
    # ec2.md 8.7
    ids = [cloud.call("ebs", "StartSnapshot", VolumeSize=1)["SnapshotId"] for _ in range(100)]
    cloud.refused("ConcurrentLimitExceededException", "ebs", "StartSnapshot", VolumeSize=1)
    for id in ids:
        cloud.call("ec2", "DeleteSnapshot", SnapshotId=id)
