//! A chart becomes two files that other programs read.

use super::*;

fn chart(points: Vec<(f64, f64)>) -> Chart {
    Chart {
        title: "RMSE by epoch".into(),
        x: Axis::count("epoch"),
        y: Axis::logarithmic("RMSE"),
        series: vec![Series::line("training", points.clone()), Series::reference("baseline", points)],
    }
}

#[test]
fn a_chart_names_its_title_axes_and_series_and_fills_pixels() {
    let folder = tempfile::tempdir().unwrap();
    lines(folder.path(), "rmse", &chart(vec![(1.0, 0.95), (2.0, 0.91), (3.0, 0.9)])).unwrap();
    let svg = std::fs::read_to_string(folder.path().join("rmse.svg")).unwrap();
    for text in ["RMSE by epoch", "epoch", "training", "baseline"] {
        assert!(svg.contains(text), "{text} is missing");
    }
    let bytes = std::fs::read(folder.path().join("rmse.png")).unwrap();
    let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((frame.width, frame.height), (SIZE.0 * FINER, SIZE.1 * FINER));
    // The first series is drawn in its colour, not only laid out.
    assert!(pixels.chunks_exact(3).filter(|pixel| *pixel == [0, 114, 178]).count() > 1000);
}

#[test]
fn steep_pieces_of_a_line_are_drawn_to_their_ends() {
    let folder = tempfile::tempdir().unwrap();
    // Almost upright, in the middle of a wide line.
    let points = vec![(1.0, 1.0), (500.0, 1.0), (500.2, 1000.0), (1000.0, 1000.0)];
    let chart = Chart { y: Axis::linear("RMSE"), series: vec![Series::line("training", points)], ..chart(vec![]) };
    lines(folder.path(), "steep", &chart).unwrap();
    let bytes = std::fs::read(folder.path().join("steep.png")).unwrap();
    let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut pixels).unwrap();
    let rows: Vec<bool> =
        pixels.chunks_exact(frame.line_size).map(|row| row.chunks_exact(3).any(|pixel| *pixel == [0, 114, 178])).collect();
    let (first, last) = (rows.iter().position(|row| *row).unwrap(), rows.iter().rposition(|row| *row).unwrap());
    assert!(last - first > 700 && rows[first..=last].iter().all(|row| *row), "a gap between rows {first} and {last}");
}

#[test]
fn empty_lonely_and_impossible_points_are_no_errors() {
    for points in [vec![], vec![(1.0, 0.9)], vec![(1.0, f64::NAN), (2.0, -1.0), (f64::INFINITY, 1.0)]] {
        let folder = tempfile::tempdir().unwrap();
        lines(folder.path(), "rmse", &chart(points)).unwrap();
        assert!(["rmse.svg", "rmse.png"].iter().all(|name| folder.path().join(name).exists()));
    }
}
