//! A run: stamps along one line, and the sums that a regression through them needs.

/// Of so many stamps the line is the mean; later it follows each by this part of how far it is off.
const FIRST: u64 = 16;
/// A step is looked for in so many stamps before the one that showed it.
const RECENT: usize = 16;

/// A stamp that is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    /// Its row, and the number of its trace.
    pub(super) row: u64,
    pub(super) trace: u64,
    /// UTC in nanoseconds.
    pub(super) ns: i64,
}

/// Stamps along one line. `x` counts traces from its first stamp, `y` is how far a stamp is from
/// `base_ns + x · period`, in nanoseconds.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// First row, and the number of its trace.
    pub(super) begins: (u64, u64),
    /// Number of the trace of the first stamp that counts. Of stamps coarser than a row the first of all is no edge.
    pub(super) trace: u64,
    /// That stamp.
    pub(super) base_ns: i64,
    /// Stamps.
    pub(super) items: u64,
    /// Sums over all stamps, once the last bin is closed.
    pub(super) sums: Sums,
    /// `y` of the last stamp, and its `x`.
    pub(super) last: (f64, f64),
    /// Mean `x` and `y` of every few hundred stamps.
    pub(super) bins: Vec<(f64, f64)>,
    /// Where the line is now, and was after the first stamps.
    level: f64,
    start_level: f64,
    bin: Sums,
}

/// The last few stamps and their `y`, in a ring; a step may turn out to have come before them.
#[derive(Clone, Debug)]
pub(super) struct Recent([(Item, f64); RECENT]);

impl Recent {
    pub(super) const fn new() -> Self {
        Self([(Item { row: 0, trace: 0, ns: 0 }, 0.0); RECENT])
    }

    /// The stamp that a run took last.
    #[inline]
    pub(super) fn note(&mut self, run: &Run, item: Item) {
        self.0[run.items as usize % RECENT] = (item, run.last.1);
    }
}

/// Sums for a line through points.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) n: f64,
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) xx: f64,
    pub(super) xy: f64,
    pub(super) yy: f64,
}

impl Sums {
    fn add(&mut self, x: f64, y: f64) {
        self.n += 1.0;
        self.x += x;
        self.y += y;
        self.xx += x * x;
        self.xy += x * y;
        self.yy += y * y;
    }

    /// The sums of the same points, further on by `x` and `y`.
    fn moved(self, x: f64, y: f64) -> Self {
        Self {
            n: self.n,
            x: self.x + self.n * x,
            y: self.y + self.n * y,
            xx: self.xx + 2.0 * x * self.x + self.n * x * x,
            xy: self.xy + x * self.y + y * self.x + self.n * x * y,
            yy: self.yy + 2.0 * y * self.y + self.n * y * y,
        }
    }

    fn remove(&mut self, x: f64, y: f64) {
        self.n -= 1.0;
        self.x -= x;
        self.y -= y;
        self.xx -= x * x;
        self.xy -= x * y;
        self.yy -= y * y;
    }

    fn join(&mut self, other: Self) {
        self.n += other.n;
        self.x += other.x;
        self.y += other.y;
        self.xx += other.xx;
        self.xy += other.xy;
        self.yy += other.yy;
    }
}

impl Run {
    /// The rows from that of `begin` on, along a line that begins with the stamp `first`.
    pub(super) fn new(begin: Item, first: Item) -> Self {
        let mut bin = Sums::default();
        bin.add(0.0, 0.0);
        Self {
            begins: (begin.row, begin.trace),
            trace: first.trace,
            base_ns: first.ns,
            items: 1,
            sums: Sums::default(),
            last: (0.0, 0.0),
            bins: Vec::new(),
            level: 0.0,
            start_level: 0.0,
            bin,
        }
    }

    /// Takes back the stamps at the end that are nearer to where the line goes on after a step, where stamps scatter too much
    /// to tell one by one.
    pub(super) fn take_back(&mut self, recent: &Recent, step: f64) -> Vec<Item> {
        let mut back = Vec::new();
        while self.items > 1 && back.len() + 1 < RECENT {
            let (item, y) = recent.0[self.items as usize % RECENT];
            let x = item.trace.saturating_sub(self.trace) as f64;
            if (y - self.level) / step <= 0.5 {
                self.last = (x, y);
                break;
            }
            self.sums.remove(x, y);
            self.items -= 1;
            back.insert(0, item);
        }
        back
    }

    /// How far a stamp is from the line, in nanoseconds.
    #[inline]
    pub(super) fn off(&self, item: Item, period_ns: f64) -> f64 {
        self.y(item, period_ns) - self.level
    }

    #[inline]
    fn y(&self, item: Item, period_ns: f64) -> f64 {
        let traces = item.trace.saturating_sub(self.trace) as f64;
        item.ns.saturating_sub(self.base_ns) as f64 - traces * period_ns
    }

    #[inline]
    pub(super) fn add(&mut self, item: Item, off: f64, bin_items: u64) {
        let (x, y) = (item.trace.saturating_sub(self.trace) as f64, off + self.level);
        self.items += 1;
        self.last = (x, y);
        // As a mean over the first stamps, then as one over the last few.
        if self.items <= FIRST {
            self.level += off / self.items as f64;
            self.start_level = self.level;
        } else {
            self.level += off / FIRST as f64;
        }
        self.bin.add(x, y);
        if self.bin.n >= bin_items as f64 {
            self.close_bin();
        }
    }

    pub(super) fn close_bin(&mut self) {
        if self.bin.n > 0.0 {
            self.bins.push((self.bin.x / self.bin.n, self.bin.y / self.bin.n));
            self.sums.join(self.bin);
            self.bin = Sums::default();
        }
    }

    /// How far this run's line begins from where the line of `before` would be.
    pub(super) fn step_from(&self, before: &Self, period_ns: f64) -> f64 {
        let first = Item { row: self.begins.0, trace: self.trace, ns: self.base_ns };
        before.off(first, period_ns) + self.start_level
    }

    /// Takes up the stamps of a run that goes on along the same line.
    pub(super) fn join(&mut self, next: &Self, period_ns: f64) {
        let first = Item { row: next.begins.0, trace: next.trace, ns: next.base_ns };
        let (x, y) = (next.trace.saturating_sub(self.trace) as f64, self.y(first, period_ns));
        self.sums.join(next.sums.moved(x, y));
        self.items += next.items;
        self.last = (next.last.0 + x, next.last.1 + y);
        self.level = next.level + y;
        self.bins.extend(next.bins.iter().map(|&(bin_x, bin_y)| (bin_x + x, bin_y + y)));
    }
}
