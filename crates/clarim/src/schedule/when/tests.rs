//! Times of tasks, and timetables.

use chrono::Datelike as _;
use chrono_tz::{America, Australia, Europe, UTC};
use proptest::prelude::*;

use super::super::window::Hours;
use super::*;

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn cron(expression: &str) -> When {
    When::cron(expression).unwrap()
}

/// The times at which a task is due when the clock shows these times.
fn ran(when: &When, zone: Tz, clock: &[DateTime<Utc>]) -> Vec<DateTime<Utc>> {
    let mut timetable = Timetable::new(vec![when.clone()], zone, clock[0]);
    clock[1..].iter().flat_map(|now| timetable.tick(*now)).map(|due| due.at).collect()
}

#[test]
fn a_task_is_due_once_at_each_of_its_times() {
    let clock: Vec<_> =
        (0..100).map(|step| time("2026-01-05T12:58:30Z") + TimeDelta::seconds(step)).collect();
    let at = |text: &str| vec![time(text)];
    assert_eq!(
        ran(&When::on_days("* * *", "13:00").unwrap(), UTC, &clock),
        at("2026-01-05T13:00:00Z")
    );
    assert_eq!(ran(&cron("0 * * * *"), UTC, &clock), at("2026-01-05T13:00:00Z"));
    assert_eq!(ran(&cron("59 * * * *"), UTC, &clock), at("2026-01-05T12:59:00Z"));
    assert_eq!(ran(&cron("*/5 * * * * *"), UTC, &clock).len(), 19);
    assert_eq!(ran(&When::Every(30), UTC, &clock).len(), 3);
    assert_eq!(ran(&cron("* * * * *"), UTC, &clock).len(), 2);
    assert!(ran(&cron("1 13 * * *"), UTC, &clock).is_empty());
}

#[test]
fn a_task_is_not_due_at_the_start() {
    let start = time("2026-01-05T13:00:00Z");
    assert!(ran(&cron("* * * * *"), UTC, &[start, start]).is_empty());
    assert!(ran(&When::Every(60), UTC, &[start, start]).is_empty());
}

#[test]
fn after_sleep_a_task_runs_once_for_the_last_of_its_times() {
    let clock = ["2026-01-05T12:00:30Z", "2026-01-08T03:04:05Z", "2026-01-08T03:04:06Z"].map(time);
    let once = |when: &When| {
        let ran = ran(when, UTC, &clock);
        assert_eq!(ran.len(), 1, "{when}: {ran:?}");
        ran[0]
    };
    assert_eq!(once(&cron("* * * * *")), time("2026-01-08T03:04:00Z"));
    assert_eq!(once(&cron("0 * * * *")), time("2026-01-08T03:00:00Z"));
    assert_eq!(once(&cron("0 12 * * *")), time("2026-01-07T12:00:00Z"));
    // The first of what was missed is the last of it.
    assert_eq!(once(&cron("0 12 6 * *")), time("2026-01-06T12:00:00Z"));
    assert_eq!(once(&When::Every(1001)).timestamp() % 1001, 0);
}

#[test]
fn nothing_runs_twice_when_the_clock_goes_back() {
    let clock = [
        "2026-01-05T12:00:30Z",
        "2026-01-05T12:02:10Z",
        "2026-01-05T11:59:30Z",
        "2026-01-05T12:00:01Z",
        "2026-01-05T12:02:20Z",
        "2026-01-05T12:03:00Z",
    ];
    let every_minute = ran(&cron("* * * * *"), UTC, &clock.map(time));
    assert_eq!(every_minute, ["2026-01-05T12:02:00Z", "2026-01-05T12:03:00Z"].map(time));
}

#[test]
fn a_clock_that_was_far_ahead_does_not_stop_the_schedule() {
    let clock = ["2027-01-05T12:00:30Z", "2026-01-05T12:00:30Z", "2026-01-05T12:01:10Z"];
    let every_minute = ran(&cron("* * * * *"), UTC, &clock.map(time));
    assert_eq!(every_minute, [time("2026-01-05T12:01:00Z")]);
}

#[test]
fn times_of_day_are_in_the_time_zone() {
    let zone = America::Sao_Paulo;
    let clock = ["2026-01-05T15:59:00Z", "2026-01-05T16:00:01Z"].map(time);
    let ran = ran(&When::on_days("* * *", "13:00").unwrap(), zone, &clock);
    assert_eq!(ran, [time("2026-01-05T16:00:00Z")]);
}

#[test]
fn a_daily_task_runs_once_in_a_skipped_hour_and_in_a_repeated_one() {
    let zone = Europe::Berlin;
    let daily = When::on_days("* * *", "02:30").unwrap();
    let minutes = |from: &str| -> Vec<_> {
        (0..4 * 60).map(|minute| time(from) + TimeDelta::minutes(minute)).collect()
    };
    // 02:00 becomes 03:00 at 01:00 UTC; the task runs when the gap is over.
    assert_eq!(ran(&daily, zone, &minutes("2026-03-28T23:00:30Z")), [time("2026-03-29T01:00:00Z")]);
    // 03:00 becomes 02:00 at 01:00 UTC
    assert_eq!(ran(&daily, zone, &minutes("2026-10-24T23:00:30Z")), [time("2026-10-25T00:30:00Z")]);
    // Hourly tasks follow real time.
    assert_eq!(ran(&cron("30 * * * *"), zone, &minutes("2026-10-24T23:00:30Z")).len(), 4);
}

#[test]
fn each_time_of_a_list_is_due_once_when_the_clocks_change() {
    for (expression, day, expected) in [
        ("0 1,13 * * *", "2026-11-01", &["05:00", "18:00"][..]),
        ("0,30 1 * * *", "2026-11-01", &["05:00", "05:30"]),
        ("0-30/30 1-1 * * *", "2026-11-01", &["05:00", "05:30"]),
        ("0 0 1,13 * * *", "2026-11-01", &["05:00", "18:00"]),
        ("0 1 * * *", "2026-11-01", &["05:00"]),
        ("0 2,14 * * *", "2026-03-08", &["07:00", "18:00"]),
        ("0,30 2 * * *", "2026-03-08", &["07:00"]),
        ("0 2,3 * * *", "2026-03-08", &["07:00"]),
        ("30 1,2 * * *", "2026-03-08", &["06:30", "07:00"]),
        ("0 2 * * *", "2026-03-08", &["07:00"]),
        // These follow real time.
        ("*/30 1 * * *", "2026-11-01", &["05:00", "05:30", "06:00", "06:30"]),
        (
            "0 * * 11 *",
            "2026-11-01",
            &[
                "05:00", "06:00", "07:00", "08:00", "09:00", "10:00", "11:00", "12:00", "13:00",
                "14:00", "15:00", "16:00", "17:00", "18:00",
            ],
        ),
    ] {
        let start = time(&format!("{day}T04:59:30Z"));
        let clock: Vec<_> = (0..14 * 60).map(|minute| start + TimeDelta::minutes(minute)).collect();
        let due = ran(&cron(expression), America::New_York, &clock);
        let due: Vec<String> = due.iter().map(|at| at.format("%H:%M").to_string()).collect();
        assert_eq!(due, expected, "{expression} on {day}");
    }
}

#[test]
fn a_time_on_a_day_that_is_left_out_is_due_on_the_next_day() {
    let start = time("2011-12-30T00:00:00Z");
    let next = cron("0 12 30 12 *").after(start, chrono_tz::Pacific::Apia).unwrap();
    assert_eq!(next, time("2011-12-30T10:00:00Z"), "midnight after the 29th");
}

#[test]
fn invalid_times_are_errors() {
    let wrong = |when: Result<When, ScheduleProblem>| when.unwrap_err().to_string();
    for text in ["25:00", "13:60", "1300", "13:00:00", "+1:00", "", "13:0x"] {
        assert!(wrong(When::on_days("* * *", text)).contains("is not a time of day"), "{text}");
    }
    assert!(wrong(When::cron("61 * * * *")).starts_with("\"61 * * * *\": "));
    assert!(wrong(When::cron("often")).starts_with("\"often\": "));
    for period in [Duration::ZERO, Duration::from_millis(1500), Duration::MAX] {
        assert!(wrong(When::every(period)).contains("whole seconds"));
    }
    assert_eq!(cron("0 0 30 2 *").after(time("2026-01-05T12:00:30Z"), UTC), None);
}

fn times() -> impl Strategy<Value = When> {
    let crons =
        ["* * * * *", "*/7 * * * *", "30 2 * * *", "0 */2 * * *", "15 3 * * 0", "0,59 1-3 * * *"];
    prop_oneof![
        (1_u32..100_000).prop_map(When::Every),
        proptest::sample::select(crons.to_vec()).prop_map(cron),
    ]
}

fn zones() -> impl Strategy<Value = Tz> {
    let zones = [UTC, Europe::Berlin, America::Sao_Paulo, Australia::Lord_Howe, America::New_York];
    proptest::sample::select(zones.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However the clock moves: every run is at a time of the task, in order and at most once, and the last
    /// time before each look at the clock is among them.
    #[test]
    fn runs_do_not_depend_on_when_the_clock_is_read(
        when in times(),
        zone in zones(),
        // Hours since 2026, around each change of the clocks and elsewhere
        start in prop::sample::select(
            [0_i64, 87 * 24 - 3, 297 * 24 - 3, 66 * 24 + 3, 304 * 24, 93 * 24 + 12].to_vec(),
        ),
        steps in proptest::collection::vec(0_i64..40_000, 1..30),
    ) {
        let start = time("2026-01-01T00:00:00Z") + TimeDelta::hours(start);
        let mut clock = vec![start];
        for step in steps {
            clock.push(*clock.last().unwrap() + TimeDelta::seconds(step));
        }
        let end = *clock.last().unwrap();
        let all: Vec<_> = std::iter::successors(when.after(start, zone), |time| when.after(*time, zone))
            .take_while(|time| *time <= end)
            .collect();
        let expected: Vec<_> = clock
            .windows(2)
            .filter_map(|pair| all.iter().rfind(|time| **time > pair[0] && **time <= pair[1]))
            .copied()
            .collect();
        prop_assert_eq!(ran(&when, zone, &clock), expected);
    }
}

fn between(from: &str, until: &str) -> Window {
    let time = |text| time_of_day(text).unwrap();
    Window { hours: Some(Hours { from: time(from), until: time(until) }), weekdays: false }
}

/// The times of a task after `start`, up to `end`.
fn shown(when: &When, zone: Tz, start: &str, end: &str) -> Vec<String> {
    let all = std::iter::successors(when.after(time(start), zone), |at| when.after(*at, zone));
    let some = all.take_while(|at| *at <= time(end));
    some.map(|at| at.with_timezone(&zone).format("%a %H:%M").to_string()).collect()
}

#[test]
fn weekdays_and_hours_leave_out_all_other_times() {
    // 2026-01-02 is a Friday.
    let window = Window { weekdays: true, ..between("8:00", "10:00") };
    let hourly = cron("0 * * * *").within(window);
    let zone = America::Sao_Paulo;
    assert_eq!(
        shown(&hourly, zone, "2026-01-02T11:30:00Z", "2026-01-05T15:00:00Z"),
        ["Fri 09:00", "Fri 10:00", "Mon 08:00", "Mon 09:00", "Mon 10:00"]
    );
    let night = When::Every(3600 * 3).within(between("21:00", "3:00"));
    assert_eq!(
        shown(&night, UTC, "2026-01-02T11:30:00Z", "2026-01-03T21:00:00Z"),
        ["Fri 21:00", "Sat 00:00", "Sat 03:00", "Sat 21:00"]
    );
    let second = When::Every(1).within(window);
    let monday = second.after(time("2026-01-02T13:00:00Z"), zone);
    assert_eq!(monday, Some(time("2026-01-05T11:00:00Z")), "the window is open at its start");
    assert_eq!(second.to_string(), "every 1 s on weekdays between 08:00 and 10:00");
}

#[test]
fn a_task_whose_times_are_never_within_its_hours_is_never_due() {
    let when = When::on_days("* * *", "3:00").unwrap().within(between("8:00", "18:00"));
    assert_eq!(when.after(time("2026-01-02T13:00:00Z"), UTC), None);
}

proptest! {
    /// Over changes of the clock, in both directions.
    #[test]
    fn times_within_hours_are_those_of_all_times(
        start in 0..86_400_i64 * 366, from in 0..1440_u32, until in 0..1440_u32, weekdays: bool,
    ) {
        let at = |minute: u32| NaiveTime::from_hms_opt(minute / 60, minute % 60, 0).unwrap();
        let hours = Hours { from: at(from), until: at(until) };
        let window = Window { weekdays, hours: Some(hours) };
        let zone = Australia::Lord_Howe;
        let start = time("2026-01-01T00:00:00Z") + TimeDelta::seconds(start);
        let all = When::Every(600);
        let next = all.clone().within(window).after(start, zone);
        let is_open = |at: &DateTime<Utc>| {
            let local = at.with_timezone(&zone);
            let time = local.time();
            let is_within = if hours.from <= hours.until {
                hours.from <= time && time <= hours.until
            } else {
                hours.from <= time || time <= hours.until
            };
            is_within && !(weekdays && local.weekday().num_days_from_monday() > 4)
        };
        let mut every = std::iter::successors(all.after(start, zone), |at| all.after(*at, zone));
        let expected = every.by_ref().take(6 * 24 * 5).find(is_open);
        if expected.is_some() {
            prop_assert_eq!(next, expected);
        } else {
            prop_assert!(next.is_none_or(|next| is_open(&next)));
        }
    }
}
