//! A straight line through the last stamps, by least squares, with what is known of the rate beforehand: at first that a
//! laser's rate is within 100 ppm of what it is declared to be, later what stamps have said before a step or a gap.
//!
//! Pure. Times are in seconds relative to the newest stamp, what stamps say beyond the declared rate in nanoseconds.

/// Points of a window.
const MOST_POINTS: usize = 64;
/// From so many on one that lies apart can be told from the others.
const ENOUGH_POINTS: usize = 6;
/// How far a rate may be off before anything is known of it, in nanoseconds a second.
const RATE_SCATTER: f64 = 1e5;
/// The first width of cells, in nanoseconds.
const FIRST_CELL: i64 = 50_000_000;

/// Stamps that lie close together, as one.
#[derive(Clone, Copy, Debug)]
struct Point {
    /// Where its first stamp lies.
    from: i64,
    /// Means of its stamps.
    counted: i64,
    ahead: f64,
    /// How many they are.
    weight: f64,
}

impl Point {
    fn join(&mut self, other: &Self) {
        let weight = self.weight + other.weight;
        let share = other.weight / weight;
        self.counted += ((other.counted - self.counted) as f64 * share) as i64;
        self.ahead += (other.ahead - self.ahead) * share;
        self.weight = weight;
    }
}

/// The last stamps, in nanoseconds: where they lie by the declared rate, and what they say beyond it.
#[derive(Debug)]
pub(super) struct Window {
    points: Vec<Point>,
    /// Stamps within one cell become one point.
    cell: i64,
    widest_cell: i64,
    /// Scatter of stamps, at least and at most.
    scatter: f64,
    most_scatter: f64,
    /// What is known of the rate without these stamps: nanoseconds a second, and how much that weighs, in s².
    rate: f64,
    rate_weight: f64,
}

/// The line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fit {
    /// The newest point: what all is relative to.
    counted: i64,
    ahead: f64,
    /// The middle of all points.
    mean_s: f64,
    mean_ahead: f64,
    /// How much faster than declared, nanoseconds a second.
    pub(super) rate: f64,
    weight: f64,
    rate_weight: f64,
    /// Scatter of a stamp, nanoseconds.
    pub(super) scatter: f64,
}

impl Window {
    pub(super) fn new((scatter, most_scatter): (f64, f64), widest_cell: i64) -> Self {
        let points = Vec::with_capacity(MOST_POINTS + 1);
        Self { points, cell: 0, widest_cell, scatter, most_scatter, rate: 0.0, rate_weight: first_weight(scatter) }
    }

    /// Whether stamps say more of the rate than was supposed before.
    pub(super) fn knows_rate(&self) -> bool {
        self.points.len() >= 3 || self.rate_weight > first_weight(self.scatter)
    }

    /// A new beginning, with the rate that `fit` has found.
    pub(super) fn restart(&mut self, fit: &Fit) {
        self.points.clear();
        self.cell = 0;
        if fit.weight > 0.0 {
            (self.rate, self.rate_weight) = (fit.rate, fit.rate_weight);
        }
    }

    pub(super) fn add(&mut self, counted: i64, ahead: i64) {
        let point = Point { from: counted, counted, ahead: ahead as f64, weight: 1.0 };
        match self.points.last_mut() {
            Some(last) if counted - last.from < self.cell => last.join(&point),
            _ => self.points.push(point),
        }
        self.drop_worst();
        if self.points.len() <= MOST_POINTS {
            return;
        }
        if self.cell < self.widest_cell {
            self.halve();
        } else {
            self.points.remove(0);
            // What was known beforehand fades with what it came from.
            self.rate_weight = (0.9 * self.rate_weight).max(first_weight(self.scatter));
        }
    }

    /// The line through all points.
    pub(super) fn fit(&self) -> Fit {
        let Some(newest) = self.points.last() else { return Fit::default() };
        let relative = |p: &Point| ((p.counted - newest.counted) as f64 * 1e-9, p.ahead - newest.ahead, p.weight);
        let (mut weight, mut sum_s, mut sum_ahead) = (0.0, 0.0, 0.0);
        for (s, ahead, w) in self.points.iter().map(relative) {
            (weight, sum_s, sum_ahead) = (weight + w, sum_s + w * s, sum_ahead + w * ahead);
        }
        let (mean_s, mean_ahead) = (sum_s / weight, sum_ahead / weight);
        let (mut squares, mut products) = (self.rate_weight, self.rate_weight * self.rate);
        for (s, ahead, w) in self.points.iter().map(relative) {
            squares += w * (s - mean_s).powi(2);
            products += w * (s - mean_s) * (ahead - mean_ahead);
        }
        let rate = products / squares;
        let rest = |(s, ahead, w): (f64, f64, f64)| w * (ahead - mean_ahead - rate * (s - mean_s)).powi(2);
        let rests: f64 = self.points.iter().map(relative).map(rest).sum();
        let scatter = (rests / (self.points.len() as f64 - 2.0).max(1.0)).sqrt().clamp(self.scatter, self.most_scatter);
        let Point { counted, ahead, .. } = *newest;
        Fit { counted, ahead, mean_s, mean_ahead, rate, weight, rate_weight: squares, scatter }
    }

    /// A bad stamp may have come in while little was known: it goes when the others tell it apart.
    fn drop_worst(&mut self) {
        if self.points.len() < ENOUGH_POINTS {
            return;
        }
        let fit = self.fit();
        let rest = |p: &Point| (p.ahead - fit.ahead(p.counted)).abs();
        let mut rests = [0.0; MOST_POINTS + 1];
        let rests = &mut rests[..self.points.len()];
        rests.iter_mut().zip(&self.points).for_each(|(to, point)| *to = rest(point));
        rests.sort_unstable_by(f64::total_cmp);
        let limit = 10.0 * rests[rests.len() / 2] + 10.0 * self.scatter;
        // The newest may be the first of a change that goes on.
        let earlier = &self.points[..self.points.len() - 1];
        if let Some(bad) = earlier.iter().position(|point| rest(point) > limit) {
            self.points.remove(bad);
        }
    }

    /// Makes one point of two, and cells twice as wide.
    fn halve(&mut self) {
        self.cell = (2 * self.cell).max(2 * FIRST_CELL);
        for at in 0..self.points.len() / 2 {
            let mut point = self.points[2 * at];
            point.join(&self.points[2 * at + 1]);
            self.points[at] = point;
        }
        let odd = self.points.len() % 2;
        if odd == 1 {
            let last = self.points.len() - 1;
            self.points[last / 2] = self.points[last];
        }
        self.points.truncate(self.points.len() / 2 + odd);
    }
}

impl Fit {
    /// What a stamp there would say beyond the declared rate, nanoseconds.
    pub(super) fn ahead(&self, counted: i64) -> f64 {
        self.ahead + self.mean_ahead + self.rate * (self.seconds(counted) - self.mean_s)
    }

    /// How far the line may be off there: one standard deviation, nanoseconds.
    pub(super) fn noise(&self, counted: i64) -> f64 {
        if self.weight == 0.0 {
            return 0.0;
        }
        let lever = (self.seconds(counted) - self.mean_s).powi(2) / self.rate_weight;
        self.scatter * (1.0 / self.weight + lever).sqrt()
    }

    /// How far its slope may be off: one standard deviation, nanoseconds a second.
    pub(super) fn rate_noise(&self) -> f64 {
        if self.rate_weight > 0.0 { self.scatter / self.rate_weight.sqrt() } else { 0.0 }
    }

    fn seconds(&self, counted: i64) -> f64 {
        (counted.saturating_sub(self.counted)) as f64 * 1e-9
    }
}

fn first_weight(scatter: f64) -> f64 {
    (scatter / RATE_SCATTER).powi(2)
}
