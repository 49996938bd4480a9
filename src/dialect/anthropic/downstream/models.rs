//! The model list. Which models there are is the model map's business; this is only how they are written. All fit on one page.
//!
//! Vendor page: <https://platform.claude.com/docs/en/api/models-list>.

use crate::wire::json::{Object, write_string};

/// One model as a client sees it.
#[derive(Clone, Copy, Debug)]
pub struct ModelCard<'a> {
    /// The name to ask for.
    pub id: &'a str,
    /// Seconds since 1970.
    pub created: u64,
    /// The name for people.
    pub display_name: &'a str,
}

/// Appends the answer of `GET /v1/models`: `{"data":[card…],"has_more":false,"first_id":"…"|null,"last_id":"…"|null}`.
pub fn list<'a>(cards: impl Iterator<Item = ModelCard<'a>>, out: &mut Vec<u8>) {
    let (mut first, mut last) = (None, None);
    Object::write(out, |body| {
        body.array("data", |data| {
            for card in cards {
                one(&card, data.item());
                first = first.or(Some(card.id));
                last = Some(card.id);
            }
        });
        body.bool("has_more", false);
        for (name, id) in [("first_id", first), ("last_id", last)] {
            match id {
                Some(id) => body.string(name, id),
                None => body.raw(name, "null"),
            }
        }
    });
}

/// Appends the answer of `GET /v1/models/{id}`: `{"type":"model","id":"…","display_name":"…","created_at":"2023-11-14T22:13:20Z","lifecycle":"active"}`.
pub fn one(card: &ModelCard<'_>, out: &mut Vec<u8>) {
    Object::write(out, |object| {
        object.string("type", "model");
        object.string("id", card.id);
        object.string("display_name", card.display_name);
        write_string(object.key("created_at"), &rfc_3339(card.created));
        object.string("lifecycle", "active");
    });
}

/// Seconds since 1970 as a UTC time, `1700000000` → `2023-11-14T22:13:20Z`. The format has four digits for a year: later than the last one is the last one.
fn rfc_3339(unix: u64) -> String {
    /// 9999-12-31T23:59:59Z
    const LAST: u64 = 253_402_300_799;
    const DAY: u64 = 86_400;
    let unix = unix.min(LAST);
    let (days, second) = (unix / DAY, unix % DAY);
    // Howard Hinnant's `civil_from_days`: years begin in March, so that the leap day is the last one; 400 years are an era of 146,097 days, and 1970 begins
    // 719,468 days behind the first era's start. <https://howardhinnant.github.io/date_algorithms.html>
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: ModelCard<'static> = ModelCard { id: "anthropic.claude-v1:0", created: 1_700_000_000, display_name: "Claude \"1\"" };
    const WRITTEN: &str =
        r#"{"type":"model","id":"anthropic.claude-v1:0","display_name":"Claude \"1\"","created_at":"2023-11-14T22:13:20Z","lifecycle":"active"}"#;

    fn listed(cards: &[ModelCard<'_>]) -> String {
        let mut out = Vec::new();
        list(cards.iter().copied(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_card_and_lists_of_none_one_and_two() {
        let mut out = Vec::new();
        one(&CARD, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), WRITTEN);
        assert_eq!(listed(&[]), r#"{"data":[],"has_more":false,"first_id":null,"last_id":null}"#);
        let id = CARD.id;
        assert_eq!(listed(&[CARD]), format!(r#"{{"data":[{WRITTEN}],"has_more":false,"first_id":"{id}","last_id":"{id}"}}"#));
        let other = ModelCard { id: "z", ..CARD };
        assert!(listed(&[CARD, other]).ends_with(r#""has_more":false,"first_id":"anthropic.claude-v1:0","last_id":"z"}"#));
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (unix, written) in [
            (0, "1970-01-01T00:00:00Z"),
            (86_399, "1970-01-01T23:59:59Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (1_735_689_600, "2025-01-01T00:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
            (u64::MAX, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc_3339(unix), written);
        }
    }

    #[test]
    fn every_day_of_four_centuries_is_the_one_behind_the_day_before() {
        let leap = |year: u32| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..146_097 {
            assert_eq!(rfc_3339(days * 86_400), format!("{year:04}-{month:02}-{day:02}T00:00:00Z"));
            let length = match month {
                2 => 28 + u32::from(leap(year)),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }
}
