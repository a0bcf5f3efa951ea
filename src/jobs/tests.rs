//! The life of jobs with a real receiver of commands, whose thread says what the pipeline would.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU16, Ordering};

use super::*;
use crate::acquisition::{Acquisition, Phase};
use crate::pipeline::control::{Command, Opened, control};
use crate::status::Status;
use requests::request::ConfigureRequest;
use serde_json::{Value, json};

/// The pipeline's side: keeps which jobs it was asked for, and says `answer` to new ones.
struct Pipeline {
    open: Arc<Mutex<BTreeSet<String>>>,
}

/// What a pipeline answers.
fn opened() -> Opened {
    Opened { epoch: 1, first_trace: 7, unit: "nstrain/s".into(), sample_unit: "rad".into() }
}

fn listening(answer: Result<(), Refusal>) -> (Control, Pipeline) {
    let (control, command_rx) = control();
    let open = Arc::new(Mutex::new(BTreeSet::new()));
    let known = Arc::clone(&open);
    std::thread::spawn(move || {
        for command in command_rx {
            let mut known = known.lock().unwrap();
            match command {
                Command::Open { job, streams, reply } => {
                    assert!(streams.iter().all(|stream| stream.name == job));
                    if answer.is_ok() {
                        known.insert(job);
                    }
                    let _ = reply.send(answer.clone().map(|()| opened()));
                }
                Command::Close { job, reply } => drop(reply.send(known.remove(&job))),
            }
        }
    });
    (control, Pipeline { open })
}

fn config(ports: RangeInclusive<u16>) -> Config {
    let mut config = Config::default();
    config.jobs.ports = ports;
    config.http.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config
}

/// So many ports in a row that nobody has now. Tests run side by side: each gets ports that no other one asks for.
fn free_ports(count: u16) -> RangeInclusive<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let busy = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_err();
    loop {
        let start = 20_000 + (std::process::id() % 120) as u16 * 100 + NEXT.fetch_add(count, Ordering::Relaxed) % 100;
        if !(start..start + count).any(|port| busy(&port)) {
            return start..=start + count - 1;
        }
    }
}

fn jobs(config: &Config, control: Control) -> Jobs {
    let status = Status::new("test", None);
    status.set_phase(Phase::Acquiring(Arc::new(Acquisition::example())));
    Jobs::new(config, status, control, GrpcPorts::configured(config).expect("no certificates"))
}

fn plan() -> JobPlan {
    let request: ConfigureRequest = serde_json::from_value(json!({
        "view_type": 0, "channels": { "min": 1, "max": 3 }, "displayInfo": { "height": 10 },
        "displayTimeAxisDuration": 1, "nfftSelection": 512,
    }))
    .unwrap();
    let phase = Phase::Acquiring(Arc::new(Acquisition::example()));
    requests::rules::plan(&request, &requests::facts::Facts::of(&phase, &Config::default()), 0).unwrap()
}

fn frame(job: &str, stream: u32, line: u64) -> Frame {
    let example = Frame::example();
    let mut of = crate::frame::Stream::clone(&example.stream);
    (of.job, of.number, of.channels.start, of.channels.count) = (job.into(), stream, stream as usize, 1);
    Frame { stream: Arc::new(of), first_line: line, lines: 1, values: vec![line as f32].into(), ..example }
}

fn listens(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_err()
}

#[tokio::test]
async fn a_job_is_there_whole_and_then_gone_whole() {
    let (control, pipeline) = listening(Ok(()));
    let ports = free_ports(4);
    let jobs = jobs(&config(ports.clone()), control);
    let job = jobs.start(plan(), None, Some("das.example".into())).await.unwrap();
    let id = job.id.clone();
    let object: Value = serde_json::from_slice(&job.description()).unwrap();
    assert_eq!((&object["job_id"], &object["stream_url"]), (&json!(id), &json!("http://das.example")));
    assert_eq!(object["stream_port"], job.address.port);
    assert!(ports.contains(&job.address.port) && listens(job.address.port));
    assert!(pipeline.open.lock().unwrap().contains(&id) && jobs.touch(&id).is_some());
    assert!(matches!(jobs.standing(&id), Some(Standing::Live(_))) && jobs.list().len() == 1);

    let mut reader = job.feeds[1].reader();
    assert_eq!(job.consumers(), 1);
    assert!(jobs.deliver(frame(&id, 1, 5)) && !jobs.deliver(frame(&id, 9, 5)) && !jobs.deliver(frame("2-2", 0, 5)));
    assert_eq!(reader.next().await.unwrap().frames[0].frame().first_line, 5);

    // Who asks at the same time gets one answer.
    let ends = futures_util::future::join_all((0..8).map(|_| jobs.end(&id, How::Cancelled, "test"))).await;
    assert_eq!(ends.iter().filter(|ended| **ended).count(), 1);
    assert!(!listens(job.address.port) && pipeline.open.lock().unwrap().is_empty() && jobs.registry().is_empty());
    assert!(reader.next().await.is_none() && jobs.touch(&id).is_none() && jobs.get(&id).is_none());
    assert!(!jobs.deliver(frame(&id, 1, 6)) && !jobs.end(&id, How::Cancelled, "test").await);
    assert!(matches!(jobs.standing(&id), Some(Standing::Ended(ended)) if ended.how == How::Cancelled));
    assert!(matches!(jobs.poll(&id, 5), Poll::Unknown), "its client ended it and knows");
}

#[tokio::test]
async fn a_start_that_fails_leaves_nothing() {
    for refusal in [
        Refusal::Waiting,
        Refusal::DoesNotFit("too wide".into()),
        Refusal::NotConditioned("no wavelength".into()),
        Refusal::Busy,
    ] {
        let (control, _pipeline) = listening(Err(refusal.clone()));
        let ports = free_ports(2);
        let jobs = jobs(&config(ports.clone()), control);
        assert_eq!(jobs.start(plan(), None, None).await.err(), Some(refusal));
        assert!(jobs.registry().is_empty() && jobs.list().is_empty() && !ports.into_iter().any(listens));
    }
    let gone = jobs(&config(free_ports(2)), control().0);
    assert_eq!(gone.start(plan(), None, None).await.err(), Some(Refusal::Busy), "the pipeline is gone");
    assert!(gone.registry().is_empty());
}

#[tokio::test]
async fn a_busy_port_is_skipped_and_when_all_are_the_limit_is_named() {
    let (control, pipeline) = listening(Ok(()));
    let ports = free_ports(3);
    let held = TcpListener::bind(("127.0.0.1", *ports.start())).unwrap();
    let jobs = jobs(&config(ports.clone()), control);
    let mut got = Vec::new();
    for _ in 0..2 {
        got.push(jobs.start(plan(), None, None).await.unwrap().address.port);
    }
    assert!(!got.contains(ports.start()) && got[0] != got[1]);
    assert!(matches!(jobs.start(plan(), None, None).await.err(), Some(Refusal::Over(Limit::Ports(_)))));
    assert_eq!((jobs.registry().len(), pipeline.open.lock().unwrap().len()), (2, 2));
    drop(held);
    assert!(jobs.start(plan(), None, None).await.is_ok(), "the service goes on");
}

#[tokio::test]
async fn a_job_that_nobody_looks_at_ends_by_itself() {
    let (control, pipeline) = listening(Ok(()));
    let mut config = config(free_ports(3));
    (config.jobs.live_idle, config.jobs.start_grace) = (Duration::from_millis(600), Duration::from_millis(100));
    let jobs = jobs(&config, control);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let sweeping = tokio::spawn(jobs.clone().run(async { drop(stopped.await) }));
    let [unseen, read, polled] = [(); 3].map(|()| jobs.start(plan(), None, None));
    let (unseen, read, polled) = tokio::join!(unseen, read, polled);
    let (unseen, read, polled) = (unseen.unwrap(), read.unwrap(), polled.unwrap());
    let reader = read.feeds[0].reader();
    while jobs.get(&unseen.id).is_some() {
        assert!(matches!(jobs.poll(&polled.id, 3), Poll::Nothing));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(jobs.get(&read.id).is_some() && jobs.get(&polled.id).is_some());
    while jobs.registry().len() > 2 {
        assert!(matches!(jobs.poll(&polled.id, 3), Poll::Nothing));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(matches!(jobs.standing(&unseen.id), Some(Standing::Ended(ended)) if ended.how == How::Completed));
    assert!(matches!(jobs.poll(&unseen.id, 3), Poll::Ended));
    // Polls alone do not last.
    drop(reader);
    while jobs.get(&polled.id).is_some() || jobs.get(&read.id).is_some() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let last = jobs.start(plan(), None, None).await.unwrap();
    drop(stop);
    sweeping.await.unwrap();
    assert!(jobs.get(&last.id).is_none() && jobs.registry().is_empty() && pipeline.open.lock().unwrap().is_empty());
}

#[tokio::test]
async fn polls_give_each_row_once_and_in_order() {
    let (control, _pipeline) = listening(Ok(()));
    let jobs = jobs(&config(free_ports(2)), control);
    let id = jobs.start(plan(), None, None).await.unwrap().id.clone();
    assert!(matches!(jobs.poll(&id, 4), Poll::Nothing), "from the first poll on, lines are held");
    for line in 0..10 {
        (0..3).for_each(|stream| assert!(jobs.deliver(frame(&id, stream, line))));
    }
    jobs.deliver(frame(&id, 0, 10));
    let mut got = Vec::new();
    loop {
        match jobs.poll(&id, 4) {
            Poll::Rows(rows) => {
                let block = rows.block();
                assert!(block.rows.len() <= 4 && block.rows.iter().all(|row| row.sensors.len() == 3));
                got.extend(block.rows.iter().map(|row| row.sensors[0].intensity[0]));
                assert_eq!((block.current_min_amp, Some(&block.current_max_amp)), (0.0, got.last()));
            }
            Poll::Nothing => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(got, (0..10u8).map(f32::from).collect::<Vec<_>>(), "the tenth is not whole yet");
    assert!(matches!(jobs.poll("9-9", 1), Poll::Unknown));
}

#[tokio::test]
async fn a_task_replaces_the_one_of_its_name_and_nothing_else() {
    let (control, pipeline) = listening(Ok(()));
    let jobs = jobs(&config(free_ports(4)), control);
    let first = jobs.start(plan(), Some("task".into()), None).await.unwrap();
    let second = jobs.start(plan(), Some("task".into()), None).await.unwrap();
    assert!(first.address.port != second.address.port && !listens(first.address.port));
    assert_eq!((jobs.registry().len(), pipeline.open.lock().unwrap().len()), (1, 1));
    let job = jobs.start(plan(), None, None).await.unwrap().id.clone();
    assert_eq!(jobs.start(plan(), Some(job), None).await.err(), Some(Refusal::Taken));
}

#[tokio::test]
async fn a_thousand_jobs_come_and_go() {
    let (control, pipeline) = listening(Ok(()));
    let mut config = config(free_ports(50));
    (config.jobs.max_jobs, config.jobs.max_load) = (50, 1000.0);
    let jobs = jobs(&config, control);
    let mut ids = BTreeSet::new();
    for _ in 0..20 {
        let started = futures_util::future::join_all((0..50).map(|_| jobs.start(plan(), None, None))).await;
        let started: Vec<_> = started.into_iter().map(Result::unwrap).collect();
        let ports: BTreeSet<_> = started.iter().map(|job| job.address.port).collect();
        assert_eq!(ports.len(), 50);
        assert_eq!(jobs.start(plan(), None, None).await.err(), Some(Refusal::Over(Limit::Jobs(50))));
        ids.extend(started.iter().map(|job| job.id.clone()));
        futures_util::future::join_all(started.iter().map(|job| jobs.end(&job.id, How::Cancelled, "test"))).await;
        assert!(jobs.registry().is_empty() && pipeline.open.lock().unwrap().is_empty());
    }
    assert_eq!(ids.len(), 1000);
}

#[tokio::test]
async fn other_channels_come_whole_or_not_at_all() {
    let (control, command_rx) = control();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    std::thread::spawn(move || {
        for command in command_rx {
            match command {
                Command::Open { streams, reply, .. } => {
                    let channels: Vec<_> = streams.iter().map(|s| (s.channel_min, s.channel_max.unwrap())).collect();
                    // It cannot have the last channels.
                    let fits = channels.iter().all(|(_, last)| *last < 2000);
                    seen.lock().unwrap().push(channels);
                    let _ = reply.send(if fits { Ok(opened()) } else { Err(Refusal::DoesNotFit("no".into())) });
                }
                Command::Close { reply, .. } => drop(reply.send(true)),
            }
        }
    });
    let jobs = jobs(&config(free_ports(4)), control);
    let job = jobs.start(plan(), None, None).await.unwrap();
    let bystander = jobs.start(plan(), None, None).await.unwrap();
    let amount = |job: &Job| serde_json::from_slice::<Value>(&job.description()).unwrap()["channel_amount"].clone();
    let before = job.description();
    for (channels, refusal) in
        [(0..2, "too_few_channels"), (1_000_000..1_000_009, "outside the fiber"), (1999..2005, "DoesNotFit")]
    {
        let refused = jobs.change_channels(&job.id, channels).await.unwrap_err();
        assert!(format!("{refused:?}").contains(refusal), "{refused:?}");
        assert_eq!(job.description(), before);
    }
    let done = jobs.change_channels(&job.id, 10..17).await.unwrap();
    assert_eq!((&done["start"], &done["end"], &done["first_trace"]), (&json!(10), &json!(17), &json!(7)));
    assert_eq!(asked.lock().unwrap().last().unwrap(), &[(11, 13), (14, 15), (16, 17)]);
    assert_eq!((amount(&job), amount(&bystander)), (json!(7), json!(3)));
    assert_eq!(job.feeds.len(), 3);

    // At the same time as its end: whichever comes first, nothing of it stays.
    let id = job.id.clone();
    let (changed, ended) = tokio::join!(jobs.change_channels(&id, 0..9), jobs.end(&id, How::Cancelled, "test"));
    assert!(ended && (changed.is_ok() || changed == Err(Refusal::UnknownJob)));
    assert_eq!(jobs.change_channels(&id, 0..9).await, Err(Refusal::UnknownJob));
    assert_eq!(jobs.registry().len(), 1);
}

#[tokio::test]
async fn frames_wait_for_the_broker_only_while_somebody_publishes() {
    let (control, _pipeline) = listening(Ok(()));
    let jobs = jobs(&config(free_ports(2)), control);
    let job = jobs.start(plan(), None, None).await.unwrap();
    let counters = Arc::clone(&jobs.shared.status.counters);
    jobs.deliver(frame(&job.id, 0, 1));
    jobs.broker().open();
    for line in 2..3000 {
        assert!(jobs.deliver(frame(&job.id, 0, line)));
    }
    let first = jobs.broker().take().await.frame;
    assert_eq!(first.frame().first_line, 2 + counters.job_frames.dropped.get(), "the oldest went first");
    assert!(counters.job_frames.dropped.get() > 0);
    // Nobody wants stream 0; stream 1 is another matter.
    jobs.came_back(&job, 0);
    jobs.broker().close();
    jobs.broker().open();
    jobs.deliver(frame(&job.id, 0, 3000));
    jobs.deliver(frame(&job.id, 1, 3000));
    let next = jobs.broker().take().await;
    assert_eq!((next.stream(), counters.job_frames.unwanted.get()), (1, 1));
    jobs.found(&job, 0);
    jobs.deliver(frame(&job.id, 0, 3001));
    assert_eq!(jobs.broker().take().await.stream(), 0);
}

#[tokio::test]
async fn frames_that_have_waited_too_long_are_not_sent_and_all_are_accounted_for() {
    use crate::status::Book;
    use proptest::prelude::*;

    let (control, _pipeline) = listening(Ok(()));
    let jobs = jobs(&config(free_ports(2)), control);
    let job = jobs.start(plan(), None, None).await.unwrap();
    let kept = |line| job.feeds[0].keep(frame(&job.id, 0, line)).unwrap();
    let (queue, c) = (jobs.broker(), Arc::clone(&jobs.shared.status.counters));
    queue.expect_publisher();
    queue.open();
    let began = Instant::now();
    queue.put(LiveFrame { job: Arc::clone(&job), frame: kept(1) }, began);
    queue.put(LiveFrame { job: Arc::clone(&job), frame: kept(2) }, began + Duration::from_millis(500));
    let next = queue.next(began + live::LIVE).expect("the second is still live");
    assert_eq!((next.frame.frame().first_line, c.job_frames.late.get()), (2, 1));
    // The sends of before were not offered: from here on the books are whole.
    c.job_frames.offered.add(2);
    c.job_frames.published.add(1);
    c.job_frames.confirmed.add(1);

    // Whatever happens: opened, closed, offered, taken late or in time, held back.
    let frame = kept(3);
    proptest!(|(steps in prop::collection::vec((0u8..7, 0u64..3000), 0..60))| {
        for (step, ms) in steps {
            let offer = |pass| queue.offer(LiveFrame { job: Arc::clone(&job), frame: Arc::clone(&frame) }, || pass);
            match step {
                0 => queue.open(),
                1 => queue.close(),
                2 => offer(send_policy::Pass::Unwanted),
                3 => offer(send_policy::Pass::Throttled),
                4 | 5 => offer(send_policy::Pass::Go),
                _ => if queue.next(Instant::now() + Duration::from_millis(ms)).is_some() {
                    c.job_frames.published.add(1);
                    c.job_frames.lost.add(1);
                }
            }
            prop_assert!(c.job_frames.books().iter().all(Book::balances), "{:?}", c.job_frames.books());
        }
    });
}

#[tokio::test]
async fn a_limit_that_is_met_ends_jobs_that_nobody_looks_at_before_it_refuses() {
    let (control, pipeline) = listening(Ok(()));
    let mut config = config(free_ports(4));
    config.jobs.max_jobs = 2;
    let jobs = jobs(&config, control);
    let [unseen, read] = [jobs.start(plan(), None, None).await.unwrap(), jobs.start(plan(), None, None).await.unwrap()];
    let _reader = read.feeds[0].reader();
    assert_eq!(jobs.start(plan(), None, None).await.err(), Some(Refusal::Over(Limit::Jobs(2))), "both are young");
    while jobs.get(&unseen.id).is_some() {
        jobs.sweep();
        let _ = jobs.start(plan(), None, None).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(jobs.get(&read.id).is_some() && pipeline.open.lock().unwrap().len() == 2);
    let ended = jobs.standing(&unseen.id);
    assert!(matches!(ended, Some(Standing::Ended(ended)) if ended.reason.contains("room")));
    assert_eq!(jobs.shared.status.counters.jobs.ended_for_room.get(), 1);
}

#[tokio::test]
async fn readers_are_told_that_they_may_be_behind_by_less_when_memory_is_short() {
    let (control, _pipeline) = listening(Ok(()));
    let mut config = config(free_ports(4));
    let cost = plan().cost(&crate::pipeline::cost::Rates::BUILT_IN);
    // Enough for the job, and for half of what its readers may be behind.
    config.jobs.memory_bytes = cost.bytes_per_channel * 3 + cost.line_bytes + cost.behind_bytes / 2;
    let jobs = jobs(&config, control);
    let job = jobs.start(plan(), None, None).await.unwrap();
    let lag =
        |job: &Job| serde_json::from_slice::<Value>(&job.description()).unwrap()["reader_lag_s"].as_f64().unwrap();
    let usual = cost.reader_lag.as_secs_f64();
    assert!((lag(&job) / usual - 0.5).abs() < 0.01, "{} of {usual}", lag(&job));
    assert_eq!(jobs.shared.status.findings().len(), 1);
    jobs.sweep();
    assert!(lag(&job) < usual, "its rows are held for a first poll");
    let reader = job.feeds[0].reader();
    jobs.sweep();
    assert!(lag(&job) < usual);
    drop(reader);
    jobs.sweep();
    assert!((lag(&job) / usual - 1.0).abs() < 0.01, "nobody reads it, nor does it wait for polls any more");
    assert!(jobs.shared.status.findings().is_empty());
    assert!(matches!(jobs.poll(&job.id, 1), Poll::Nothing));
    jobs.sweep();
    assert!(lag(&job) < usual, "a client that polls reads");
    job.forget_polls(jobs.now() + Duration::from_secs(1));
    jobs.sweep();
    assert!((lag(&job) / usual - 1.0).abs() < 0.01);
}

#[tokio::test]
async fn a_job_that_the_pipeline_has_ended_is_gone_whole_and_its_client_is_told_why() {
    let (control, _pipeline) = listening(Ok(()));
    let ended_tx = control.ended_tx();
    let jobs = jobs(&config(free_ports(4)), control);
    let (stop_tx, stop_rx) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(jobs.clone().run(async move { drop(stop_rx.await) }));
    let [costly, other] =
        [jobs.start(plan(), None, None).await.unwrap(), jobs.start(plan(), None, None).await.unwrap()];
    ended_tx.send(EndedJob { job: costly.id.clone(), reason: "it was the costliest".into() }).unwrap();
    ended_tx.send(EndedJob { job: "9-9".into(), reason: "nobody knows it".into() }).unwrap();
    let ended = loop {
        match jobs.standing(&costly.id) {
            Some(Standing::Ended(ended)) => break ended,
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    assert_eq!((ended.how, ended.reason.as_str()), (How::Failed, "it was the costliest"));
    assert!(!listens(costly.address.port) && jobs.get(&other.id).is_some());
    drop(stop_tx);
    running.await.unwrap();
    assert!(jobs.registry().is_empty());
}
