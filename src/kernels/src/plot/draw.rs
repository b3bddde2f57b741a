//! How a chart looks.

use plotters::chart::{ChartBuilder, SeriesLabelPosition};
use plotters::element::{Circle, PathElement};
use plotters::prelude::{DrawingBackend, IntoDrawingArea, IntoFont};
use plotters::series::{DashedLineSeries, LineSeries};
use plotters::style::{Color, RGBColor, WHITE};

use super::scale::Scale;
use super::{Chart, Series};

/// Colours that people with any kind of sight tell apart (Okabe and Ito 2008), darkest first.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
const GRID: RGBColor = RGBColor(225, 225, 225);
const AXIS: RGBColor = RGBColor(90, 90, 90);

/// Up to so many points are marked by dots; more would hide the line.
const DOTTED: usize = 40;

/// Draws onto `backend`, with every size multiplied by `finer`; an error is in the library's words.
pub fn draw<B: DrawingBackend>(backend: B, chart: &Chart, finer: u32) -> Result<(), String> {
    attempt(backend, chart, finer).map_err(|error| error.to_string())
}

fn attempt<B: DrawingBackend>(
    backend: B,
    chart: &Chart,
    finer: u32,
) -> Result<(), plotters::drawing::DrawingAreaErrorKind<B::ErrorType>> {
    let size = |pixels: u32| pixels * finer;
    let series: Vec<Series> = chart.series.iter().map(|series| visible(series, chart)).collect();
    let points = || series.iter().flat_map(|series| series.points.iter().copied());
    let x = Scale::spanning(chart.x.kind, points().map(|point| point.0));
    let y = Scale::spanning(chart.y.kind, points().map(|point| point.1));
    let legend = corner(points(), &x, &y);

    let area = backend.into_drawing_area();
    area.fill(&WHITE)?;
    let mut canvas = ChartBuilder::on(&area)
        .caption(&chart.title, ("sans-serif", size(19)).into_font())
        .margin(size(14))
        .x_label_area_size(size(48))
        .y_label_area_size(size(72))
        .build_cartesian_2d(x, y)?;
    canvas
        .configure_mesh()
        .bold_line_style(GRID.stroke_width(finer))
        .light_line_style(WHITE.mix(0.0))
        .axis_style(AXIS.stroke_width(finer))
        .set_all_tick_mark_size(size(5))
        .x_labels(10)
        .y_labels(9)
        .label_style(("sans-serif", size(13)).into_font())
        .axis_desc_style(("sans-serif", size(15)).into_font())
        .x_desc(&chart.x.label)
        .y_desc(&chart.y.label)
        .draw()?;
    for (position, series) in series.iter().enumerate() {
        let colour = COLOURS[position % COLOURS.len()];
        let stroke = if series.dashed { AXIS.stroke_width(size(1)) } else { colour.stroke_width(size(2)) };
        let points = series.points.iter().copied();
        let drawn = match series.dashed {
            true => canvas.draw_series(DashedLineSeries::new(points, size(6), size(5), stroke))?,
            // The library fills the outline of a thick line column by column, and loses steep pieces of long ones: in pixels,
            // each piece is a line of its own, with a disc where two meet.
            false if finer > 1 => {
                canvas.draw_series(series.points.iter().map(|point| Circle::new(*point, finer, stroke.filled())))?;
                canvas.draw_series(series.points.windows(2).map(|piece| PathElement::new(piece.to_vec(), stroke)))?
            }
            false => canvas.draw_series(LineSeries::new(points, stroke))?,
        };
        let length = size(20) as i32;
        drawn.label(&series.name).legend(move |(x, y)| PathElement::new([(x, y), (x + length, y)], stroke));
        if !series.dashed && series.points.len() <= DOTTED {
            canvas.draw_series(series.points.iter().map(|point| Circle::new(*point, size(3), colour.filled())))?;
        }
    }
    if series.len() > 1 {
        canvas
            .configure_series_labels()
            .position(legend)
            .margin(size(10))
            .legend_area_size(size(26))
            .label_font(("sans-serif", size(13)).into_font())
            .background_style(WHITE.mix(0.85))
            .border_style(GRID.stroke_width(finer))
            .draw()?;
    }
    area.present()
}

/// The points that both axes can show.
fn visible(series: &Series, chart: &Chart) -> Series {
    let points = series.points.iter().copied().filter(|(x, y)| chart.x.kind.shows(*x) && chart.y.kind.shows(*y)).collect();
    Series { points, ..series.clone() }
}

/// The corner with the fewest points: where a legend hides least.
fn corner(points: impl Iterator<Item = (f64, f64)>, x: &Scale, y: &Scale) -> SeriesLabelPosition {
    use SeriesLabelPosition::{LowerLeft, LowerRight, UpperLeft, UpperRight};
    use plotters::coord::ranged1d::Ranged;
    let mut counts = [0; 4];
    for point in points {
        let (right, upper) = (x.map(&point.0, (0, 100)) >= 50, y.map(&point.1, (0, 100)) >= 50);
        counts[usize::from(right) + 2 * usize::from(upper)] += 1;
    }
    let emptiest = (0..4).rev().min_by_key(|corner| counts[*corner]).unwrap_or(3);
    [LowerLeft, LowerRight, UpperLeft, UpperRight][emptiest].clone()
}
