//! Blocks, threads and compression change nothing: rows, hash and the first error are those of reading line by line.

use std::fs;
use std::io::Write;

use proptest::prelude::*;

use super::*;
use crate::ratings::format::{Format, detect};
use crate::ratings::{Ratings, columns};

const FORMATS: [Format; 5] = [Format::Netflix, Format::NetflixProbe, Format::Csv, Format::Dat, Format::Tabs];

/// Ratings as a file of some format; stars are whole where the format has no others.
fn text(format: Format, rows: &[(u32, u32, u8)]) -> String {
    let mut text = if format == Format::Csv { "userId,movieId,rating,timestamp\r\n".into() } else { String::new() };
    let mut last = None;
    for (movie, user, stars) in rows {
        if matches!(format, Format::Netflix | Format::NetflixProbe) && last.replace(movie) != Some(movie) {
            text += &format!("{movie}:\n");
        }
        text += &match format {
            Format::Netflix => format!("{user},{},2005-09-06\n", stars.div_ceil(2)),
            Format::NetflixProbe => format!("{user}\n"),
            Format::Csv => format!("{user},{movie},{}.{},1260759144\n", stars / 2, stars % 2 * 5),
            Format::Dat => format!("{user}::{movie}::{}::838985046\n", f32::from(*stars) / 2.0),
            Format::Tabs => format!("{user}\t{movie}\t{}\t881250949\n", stars.div_ceil(2)),
        };
    }
    text
}

/// What is to be read from it.
fn expected(format: Format, rows: &[(u32, u32, u8)]) -> Rows {
    let mut expected = Rows::default();
    for (movie, user, stars) in rows {
        let stars = match format {
            Format::NetflixProbe => 0,
            Format::Netflix | Format::Tabs => stars.div_ceil(2) * 2,
            Format::Csv | Format::Dat => *stars,
        };
        expected.push(*movie, *user, stars);
    }
    expected
}

fn scanned(path: &Path, format: Format, threads: usize) -> Result<(Rows, [u8; 32]), ReadError> {
    let found = detect(path, Some(format))?;
    let scanned = scan(&sources(&found, &Names::default())?, true, Workers::of_number(threads), |_, _| {})?;
    let mut all = Rows::default();
    for part in scanned.rows {
        all.movies.extend(part.movies);
        all.users.extend(part.users);
        all.stars.extend(part.stars);
    }
    Ok((all, scanned.content))
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zstd(text: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest)
}

fn random_rows() -> impl Strategy<Value = Vec<(u32, u32, u8)>> {
    let id = || prop_oneof![5 => 0u32..300, 1 => any::<u32>(), 1 => Just(u32::MAX)];
    proptest::collection::vec((0u32..4, id(), 1u8..=10), 0..200).prop_map(|mut rows| {
        // Long runs of one movie, so that blocks begin inside them.
        rows.sort_by_key(|row| row.0);
        rows
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_format_reads_the_same_plain_or_compressed_on_any_number_of_threads(
        rows in random_rows(),
        format in proptest::sample::select(&FORMATS[..]),
        threads in 1usize..4,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let text = text(format, &rows);
        let (half, rest) = text.as_bytes().split_at(text.len() / 2);
        let mut hashes = Vec::new();
        for (name, bytes) in [
            ("plain", text.clone().into_bytes()),
            ("gzip", gzip(text.as_bytes())),
            ("zstd", zstd(text.as_bytes())),
            // Several members and frames, the empty and the skippable included.
            ("members", [gzip(half), gzip(b""), gzip(rest)].concat()),
            ("frames", [zstd(half), b"\x50\x2a\x4d\x18\x03\0\0\0abc".to_vec(), zstd(rest)].concat()),
        ] {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            let (found, hash) = scanned(&path, format, threads).unwrap();
            prop_assert_eq!(found, expected(format, &rows), "{}", name);
            prop_assert_eq!(scanned(&path, format, 1).unwrap().1, hash);
            hashes.push(hash);
        }
        hashes.dedup();
        prop_assert_eq!(hashes.len(), 5, "different contents have one hash");
    }

    #[test]
    fn a_malformed_line_is_named_wherever_blocks_are_cut(
        rows in proptest::collection::vec((0u32..3, 0u32..3000, 1u8..=10), 1..150),
        place in any::<proptest::sample::Index>(),
        format in proptest::sample::select(&FORMATS[..]),
        threads in 1usize..4,
        blank in 0usize..700,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let text = "\n".repeat(if format == Format::Csv { 0 } else { blank }) + &text(format, &rows);
        let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
        let place = place.index(lines.len());
        lines[place] = "1;oops\n";
        // A second one further behind must not be the one that is told.
        lines.push("9;oops\n");
        let text = lines.concat();
        for bytes in [text.clone().into_bytes(), gzip(text.as_bytes()), zstd(text.as_bytes())] {
            fs::write(&path, bytes).unwrap();
            let error = scanned(&path, format, threads).unwrap_err().to_string();
            let header = if place == 0 && format == Format::Csv { "1;oops" } else { "" };
            prop_assert!(error.contains(&format!("data:{}: expected ", place + 1)), "line {}: {error} {header}", place + 1);
            prop_assert!(error.ends_with("found \"1;oops\""), "{error}");
        }
    }
}

#[test]
fn a_netflix_file_that_names_no_movie_for_blocks_is_malformed_at_its_first_rating() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("combined_data_1.txt");
    for blank in [0, 1, 300, 1000] {
        fs::write(&path, "\n".repeat(blank) + &"7,3,2005-01-01\n".repeat(50)).unwrap();
        for threads in [1, 3] {
            let error = scanned(&path, Format::Netflix, threads).unwrap_err().to_string();
            let expected = format!("combined_data_1.txt:{}: expected the movie's line `MOVIE:`", blank + 1);
            assert!(error.contains(&expected), "{error}");
            assert!(error.ends_with("found \"7,3,2005-01-01\""), "{error}");
        }
    }
}

#[test]
fn a_netflix_folder_reads_all_its_movies() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mv_0000001.txt"), "\u{feff}1:\n7,4,2005-01-01\n9,5,2004-02-03\n").unwrap();
    fs::write(folder.path().join("mv_0000003.txt"), "3:\n9,1,2005-01-01").unwrap();
    fs::write(folder.path().join("mv_0000004.txt"), "").unwrap();
    fs::write(folder.path().join("movie_titles.txt"), "1,2003,Dinosaur Planet\n").unwrap();
    let found = detect(folder.path(), None).unwrap();
    let mut told = Vec::new();
    let scanned = scan(&sources(&found, &Names::default()).unwrap(), true, Workers::of_number(2), |done, total| {
        told.push((done, total));
    });
    let ratings = columns::build(scanned.unwrap().rows, Workers::of_number(2)).unwrap();
    let expected = Ratings {
        movie_ids: vec![1, 3],
        user_ids: vec![7, 9],
        offsets: vec![0, 2, 3],
        raters: vec![0, 1, 1],
        stars: vec![8, 10, 2],
    };
    assert_eq!(ratings, expected);
    assert_eq!(told.last(), Some(&(53, 53)));
}

#[test]
fn a_rating_before_the_movie_of_its_own_file_is_malformed() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mv_0000001.txt"), "1:\n7,4,2005-01-01\n").unwrap();
    fs::write(folder.path().join("mv_0000002.txt"), "7,4,2005-01-01\n").unwrap();
    let error = scanned(folder.path(), Format::Netflix, 1).unwrap_err().to_string();
    assert!(error.contains("mv_0000002.txt:1: expected the movie's line"), "{error}");
}

#[test]
fn binary_junk_endless_lines_and_cut_archives_are_errors_of_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("u.data");
    for junk in [vec![0xff; 10_000], vec![b'1'; 10_000], b"1\t2\t3\xfe\t4".to_vec(), gzip(&[b'1'; 10_000])] {
        fs::write(&path, junk).unwrap();
        let error = scanned(&path, Format::Tabs, 2).unwrap_err().to_string();
        assert!(error.contains("u.data:1: expected"), "{error}");
        assert!(!error.contains('\n') && error.len() < 800, "{error}");
    }
    let lines = (0..3000).map(|at| format!("{at}\t{}\t3\t881250949\n", at * 7 % 1000)).collect::<String>();
    for whole in [gzip(lines.as_bytes()), zstd(lines.as_bytes())] {
        for length in [6, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            let error = scanned(&path, Format::Tabs, 2).unwrap_err().to_string();
            assert!(error.ends_with("u.data could not be read"), "{length} of {}: {error}", whole.len());
        }
    }
}

#[test]
fn a_file_of_nothing_but_a_header_has_no_ratings() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ratings.csv");
    for text in ["userId,movieId,rating,timestamp\n", "userId,movieId,rating", ""] {
        fs::write(&path, text).unwrap();
        assert_eq!(scanned(&path, Format::Csv, 2).unwrap().0, Rows::default(), "{text}");
    }
}

#[test]
fn a_header_longer_than_a_block_is_no_rating() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ratings.csv");
    let header = format!("user,movie,rating,{}\n", "x".repeat(700));
    fs::write(&path, header + "5,6,3.5,\"a, b\"\n").unwrap();
    for threads in [1, 2] {
        assert_eq!(scanned(&path, Format::Csv, threads).unwrap().0, expected(Format::Csv, &[(6, 5, 7)]));
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_is_not_half_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("u.data");
    fs::write(&path, "1\t2\t3\t4\n").unwrap();
    let sources = sources(&detect(&path, None).unwrap(), &Names::default()).unwrap();
    fs::write(&path, "1\t2\t3\t4\n1\t3\t3\t4\n").unwrap();
    let error = scan(&sources, true, Workers::ONE, |_, _| {}).unwrap_err();
    assert!(crate::startup::one_line(&error).ends_with("u.data could not be read: it was changed while it was read"));
}
