//! Line charts as SVG and PNG, for people who would rather look than read a table.
//!
//! Owns how a chart looks; knows no kernel. Text is measured and drawn with a font inside the program, because an image
//! has neither fonts nor fontconfig.

mod draw;
mod scale;

use std::io::Write;
use std::path::Path;
use std::sync::Once;

use plotters::backend::{BitMapBackend, SVGBackend};
use plotters::style::{FontStyle, register_font};

use crate::output::{OutputError, write_atomically};
pub use scale::Kind;

/// Width and height of the SVG; the PNG has twice as many pixels each way.
const SIZE: (u32, u32) = (860, 540);
/// How many times finer the PNG is.
const FINER: u32 = 2;
/// How many times finer still it is drawn, to be averaged: the library draws pixels that are on or off.
const SMOOTH: u32 = 2;

/// A chart that could not be drawn or written.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    /// The drawing library's own words.
    #[error("plot {name} could not be drawn: {reason}")]
    Draw {
        /// The plot's name.
        name: String,
        /// What the library said.
        reason: String,
    },
    /// A file could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// An axis: what it shows, in which unit, and how.
#[derive(Clone, Debug)]
pub struct Axis {
    label: String,
    kind: Kind,
}

impl Axis {
    /// Equal steps for equal differences.
    pub fn linear(label: impl Into<String>) -> Self {
        Self { label: label.into(), kind: Kind::Linear }
    }

    /// Equal steps for equal differences of whole numbers, such as ranks and epochs.
    pub fn count(label: impl Into<String>) -> Self {
        Self { label: label.into(), kind: Kind::Count }
    }

    /// Equal steps for equal factors, with a mark at powers of 10.
    pub fn logarithmic(label: impl Into<String>) -> Self {
        Self { label: label.into(), kind: Kind::Decimal }
    }

    /// Sizes of messages and memory: equal steps for equal factors, with a mark at powers of 2, as in `64 KiB`.
    pub fn bytes(label: impl Into<String>) -> Self {
        Self { label: label.into(), kind: Kind::Binary }
    }
}

/// A line of a chart; points that are no numbers, or not above zero on a logarithmic axis, are left out.
#[derive(Clone, Debug)]
pub struct Series {
    name: String,
    points: Vec<(f64, f64)>,
    dashed: bool,
}

impl Series {
    /// A measured line.
    pub fn line(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points, dashed: false }
    }

    /// A line to compare with: an ideal, a limit.
    pub fn reference(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points, dashed: true }
    }
}

/// What a chart shows; a legend appears where there is more than one series.
#[derive(Clone, Debug)]
pub struct Chart {
    /// A line above the chart.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The lines, drawn in this order.
    pub series: Vec<Series>,
}

/// Draws `chart` as `folder/NAME.svg` and `folder/NAME.png`.
pub fn lines(folder: &Path, name: &str, chart: &Chart) -> Result<(), PlotError> {
    static FONT: Once = Once::new();
    FONT.call_once(|| {
        let registered = register_font("sans-serif", FontStyle::Normal, dejavu::sans::regular());
        assert!(registered.is_ok(), "the font inside the program can be read");
    });
    let failed = |reason: String| PlotError::Draw { name: name.to_owned(), reason };
    let mut svg = String::new();
    draw::draw(SVGBackend::with_string(&mut svg, SIZE), chart, 1).map_err(failed)?;
    write_atomically(&folder.join(format!("{name}.svg")), |writer| writer.write_all(svg.as_bytes()))?;

    let (width, height) = (SIZE.0 * FINER * SMOOTH, SIZE.1 * FINER * SMOOTH);
    let mut pixels = vec![0; width as usize * height as usize * 3];
    draw::draw(BitMapBackend::with_buffer(&mut pixels, (width, height)), chart, FINER * SMOOTH).map_err(failed)?;
    let pixels = smooth(&pixels, width as usize);
    let image = encode(&pixels, width / SMOOTH, height / SMOOTH).map_err(|error| failed(error.to_string()))?;
    Ok(write_atomically(&folder.join(format!("{name}.png")), |writer| writer.write_all(&image))?)
}

/// Each square of pixels as one, of their mean colour.
fn smooth(pixels: &[u8], width: usize) -> Vec<u8> {
    let side = SMOOTH as usize;
    let row = width * 3;
    let mean = |rows: &[u8], first: usize| {
        let square = (0..side).flat_map(|down| (0..side).map(move |right| down * row + first + right * 3));
        let sum: usize = square.map(|place| usize::from(rows[place])).sum();
        (sum / (side * side)) as u8
    };
    let columns = || (0..width / side).flat_map(|column| (0..3).map(move |colour| column * side * 3 + colour));
    pixels.chunks_exact(row * side).flat_map(|rows| columns().map(move |first| mean(rows, first))).collect()
}

/// A PNG of 8-bit red, green and blue.
fn encode(pixels: &[u8], width: u32, height: u32) -> Result<Vec<u8>, png::EncodingError> {
    let mut image = Vec::new();
    let mut encoder = png::Encoder::new(&mut image, width, height);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(image)
}

#[cfg(test)]
mod tests;
