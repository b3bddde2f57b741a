//! Every pattern on threads: the right curves, all files, and damage is noticed.

use super::*;
use crate::communicator::Threads;

fn netpipe(patterns: &[Pattern]) -> Netpipe {
    Netpipe { patterns: patterns.to_vec(), from: 1, to: 200, perturbation: 3, milliseconds: 1 }
}

#[test]
fn every_pair_two_ranks_and_the_ring_have_a_curve_on_any_number_of_ranks() {
    for ranks in [2, 3, 4, 5] {
        let folder = tempfile::tempdir().unwrap();
        let all = netpipe(&[Pattern::Two, Pattern::Pairs, Pattern::Ring]);
        Threads::run(ranks, |communicator| all.run(&mut Run::silent(communicator, folder.path())).unwrap());
        let text = std::fs::read(folder.path().join("summary.json")).unwrap();
        let summary: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let curves = summary["curves"].as_array().unwrap();
        let of = |pattern: &str| -> Vec<(u64, u64)> {
            let curves = curves.iter().filter(|curve| curve["pattern"] == pattern);
            curves.map(|curve| (curve["from"].as_u64().unwrap(), curve["to"].as_u64().unwrap())).collect()
        };
        let ranks = ranks as u64;
        let pairs: Vec<(u64, u64)> = (0..ranks).flat_map(|from| (from + 1..ranks).map(move |to| (from, to))).collect();
        assert_eq!((of("two"), of("pairs"), of("ring")), (vec![(0, ranks - 1)], pairs, vec![(0, 1)]));
        for name in ["netpipe.csv", "netpipe.svg", "netpipe.png", "netpipe-time.svg", "two.npy", "pairs.npy", "ring.npy"] {
            assert!(folder.path().join(name).exists(), "{name} is missing");
        }
        let sizes = schedule::sizes(1, 200, 3);
        for name in ["two.npy", "ring.npy"] {
            let array = crate::npy::read(&folder.path().join(name)).unwrap();
            let bytes: Vec<u64> = array.column(0).iter().map(|bytes| *bytes as u64).collect();
            assert_eq!(bytes, sizes);
            assert!(array.rows().into_iter().all(|row| row[1] > 0.0 && row[1] <= row[2]), "{array}");
        }
        let table = std::fs::read_to_string(folder.path().join("netpipe.csv")).unwrap();
        let of_pair = table.lines().filter_map(|line| line.strip_prefix("pairs,0,1,"));
        let bytes: Vec<u64> = of_pair.map(|line| line.split(',').next().unwrap().parse().unwrap()).collect();
        assert_eq!(bytes, sizes);
        let length = std::fs::metadata(folder.path().join("pairs.npy")).unwrap().len();
        assert_eq!(length, 128 + ranks * ranks * sizes.len() as u64 * 3 * 8);
    }
}

#[test]
fn one_rank_alone_and_a_range_without_sizes_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let alone = Threads::run(1, |communicator| {
        netpipe(&[Pattern::Two]).run(&mut Run::silent(communicator, folder.path())).unwrap_err().to_string()
    });
    assert!(alone[0].contains("mpirun -n 2"), "{alone:?}");
    let none = Netpipe { from: 5, to: 5, perturbation: 0, ..netpipe(&[Pattern::Ring]) };
    let outcomes =
        Threads::run(2, |communicator| none.run(&mut Run::silent(communicator, folder.path())).unwrap_err().to_string());
    assert!(outcomes[0].contains("no size between 5 and 5 bytes"), "{outcomes:?}");
}
