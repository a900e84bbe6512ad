//! What `macula sim` is told: durations, sessions, how many providers.

use std::num::NonZeroUsize;
use std::time::Duration;

use macula_sim::Churn;

/// How long nodes stay; `None` when all do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sessions(pub(super) Option<Churn>);

/// How many providers a find wants; `None` for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Want(pub(super) Option<NonZeroUsize>);

pub(super) fn sessions(text: &str) -> Result<Sessions, String> {
    if text == "none" {
        return Ok(Sessions(None));
    }
    let Some(parameters) = text.strip_prefix("weibull:") else {
        return Ok(Sessions(Some(Churn::with_median(duration(text)?))));
    };
    let (shape, scale) = parameters
        .split_once(',')
        .ok_or("expected weibull:SHAPE,SCALE")?;
    Ok(Sessions(Some(Churn {
        shape: shape.parse().map_err(|_| "the shape is no number")?,
        scale: duration(scale)?,
        ..Churn::default()
    })))
}

pub(super) fn want(text: &str) -> Result<Want, String> {
    if text == "all" {
        return Ok(Want(None));
    }
    let count = text.parse().map_err(|_| "expected a number or `all`")?;
    Ok(Want(Some(count)))
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let units = [("s", 1.0), ("m", 60.0), ("h", 3_600.0), ("d", 86_400.0)];
    units
        .iter()
        .find_map(|(unit, secs)| Some((text.strip_suffix(unit)?.parse::<f64>().ok()?, secs)))
        .and_then(|(number, secs)| Duration::try_from_secs_f64(number * secs).ok())
        .filter(|duration| !duration.is_zero() && *duration <= LONGEST)
        .ok_or_else(|| "expected a number with s, m, h or d behind it, up to 30d".to_owned())
}

const LONGEST: Duration = Duration::from_secs(30 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_a_limit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1.5h"), Ok(Duration::from_secs(5_400)));
        assert_eq!(duration("30d"), Ok(LONGEST));
        for bad in ["", "90", "h", "-1h", "0s", "31d", "nans", "infs", "1 h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sessions_are_a_median_or_a_distribution() {
        assert_eq!(sessions("none"), Ok(Sessions(None)));
        let Sessions(Some(churn)) = sessions("45m").unwrap() else {
            panic!("no churn");
        };
        assert!(churn.median().abs_diff(Duration::from_secs(2_700)) < Duration::from_millis(1));
        let Sessions(Some(churn)) = sessions("weibull:0.5,1h").unwrap() else {
            panic!("no churn");
        };
        assert_eq!((churn.shape, churn.scale.as_secs()), (0.5, 3_600));
        for bad in ["weibull:0.5", "weibull:x,1h", "weibull:1,1", "often"] {
            assert!(sessions(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn want_is_a_number_or_all() {
        assert_eq!(want("all"), Ok(Want(None)));
        assert_eq!(want("3"), Ok(Want(NonZeroUsize::new(3))));
        assert!(want("0").is_err());
    }
}
