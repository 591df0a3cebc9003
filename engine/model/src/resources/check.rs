//! What names and amounts of resources may be, whoever says them.

use super::{Amount, Request, Supplies, Supply};
use std::collections::BTreeSet;

/// The resource that is counted as workers.
pub const CPUS: &str = "cpus";
/// Bytes.
pub const MEMORY: &str = "memory";
/// Resources of a governor, or of a task, at most.
pub const NAMES_MAX: usize = 64;
/// Alternatives of a task at most.
pub const ALTERNATIVES_MAX: usize = 16;
/// Longest name or label, bytes.
const NAME_BYTES_MAX: usize = 64;
/// Things of one resource that are told apart, at most.
const LABELS_MAX: usize = 4096;

/// What is wrong with resources.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    #[error(
        "{0:?} cannot be the name of a resource: it is made of letters, digits, '_', '-' and '.', begins with a letter, and has 64 of them at most"
    )]
    Name(String),
    #[error("{0:?} are said as a number of their own, not as a resource")]
    Cpus(String),
    #[error("{0} resources are more than the {NAMES_MAX} that there may be")]
    TooMany(usize),
    #[error("{0} alternatives are more than the {ALTERNATIVES_MAX} that there may be")]
    TooManyAlternatives(usize),
    #[error("an alternative asks for 0 cpus; a task takes at least 1")]
    NoCpus,
    #[error("there is nothing of {0:?}: leave it out")]
    Nothing(String),
    #[error("there is more of {0:?} than anybody has")]
    TooMuch(String),
    #[error("{0:?} is a number of bytes, so a whole number")]
    Fraction(String),
    #[error("{0:?} has {1} labels, more than {LABELS_MAX}")]
    TooManyLabels(String, usize),
    #[error(
        "{1:?} cannot be the label of one of {0:?}: it is made of letters, digits and '_-.:/', and has 64 of them at most"
    )]
    Label(String, String),
    #[error("{0:?} has the label {1:?} twice")]
    Twice(String, String),
}

/// Checks the name of a resource.
///
/// # Errors
/// When it is not a name.
pub fn check_name(name: &str) -> Result<(), ResourceError> {
    let may_have = |letter: char| letter.is_ascii_alphanumeric() || "_-.".contains(letter);
    let begins = name.starts_with(|letter: char| letter.is_ascii_alphabetic());
    if begins && name.len() <= NAME_BYTES_MAX && name.chars().all(may_have) {
        return Ok(());
    }
    Err(ResourceError::Name(name.chars().take(NAME_BYTES_MAX).collect()))
}

fn check_amount(name: &str, amount: Amount) -> Result<(), ResourceError> {
    match amount {
        Amount::ZERO => Err(ResourceError::Nothing(name.to_owned())),
        amount if amount > Amount::MAX => Err(ResourceError::TooMuch(name.to_owned())),
        amount if name == MEMORY && amount.fraction() > Amount::ZERO => Err(ResourceError::Fraction(name.to_owned())),
        _ => Ok(()),
    }
}

/// Checks what a task asks for.
///
/// # Errors
/// What is wrong with it.
pub fn check_alternatives(alternatives: &[Request]) -> Result<(), ResourceError> {
    if alternatives.len() > ALTERNATIVES_MAX {
        return Err(ResourceError::TooManyAlternatives(alternatives.len()));
    }
    for request in alternatives {
        if request.cpus == 0 {
            return Err(ResourceError::NoCpus);
        }
        if request.amounts.len() > NAMES_MAX {
            return Err(ResourceError::TooMany(request.amounts.len()));
        }
        for (name, amount) in &request.amounts {
            check_resource_name(name)?;
            check_amount(name, *amount)?;
        }
    }
    Ok(())
}

fn check_resource_name(name: &str) -> Result<(), ResourceError> {
    if name == CPUS { Err(ResourceError::Cpus(name.to_owned())) } else { check_name(name) }
}

/// Checks what a governor says that it has.
///
/// # Errors
/// What is wrong with it.
pub fn check_supplies(supplies: &Supplies) -> Result<(), ResourceError> {
    if supplies.len() > NAMES_MAX {
        return Err(ResourceError::TooMany(supplies.len()));
    }
    for (name, supply) in supplies {
        check_resource_name(name)?;
        match supply {
            Supply::Amount(amount) => check_amount(name, *amount)?,
            Supply::Indexed(_) if name == MEMORY => return Err(ResourceError::Fraction(name.clone())),
            Supply::Indexed(labels) => check_labels(name, labels)?,
        }
    }
    Ok(())
}

fn check_labels(name: &str, labels: &[String]) -> Result<(), ResourceError> {
    if labels.is_empty() {
        return Err(ResourceError::Nothing(name.to_owned()));
    }
    if labels.len() > LABELS_MAX {
        return Err(ResourceError::TooManyLabels(name.to_owned(), labels.len()));
    }
    let mut known = BTreeSet::new();
    for label in labels {
        let may_have = |letter: char| letter.is_ascii_alphanumeric() || "_-.:/".contains(letter);
        if label.is_empty() || label.len() > NAME_BYTES_MAX || !label.chars().all(may_have) {
            return Err(ResourceError::Label(name.to_owned(), label.chars().take(NAME_BYTES_MAX).collect()));
        }
        if !known.insert(label) {
            return Err(ResourceError::Twice(name.to_owned(), label.clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_said() {
        let request = |name: &str, amount| Request { cpus: 1, amounts: [(name.to_owned(), amount)].into() };
        let half = Amount::from_number(0.5).unwrap();
        for (asked, expected) in [
            (request("gpus", half), None),
            (request("gpus", Amount::ZERO), Some("nothing of")),
            (request("gpus", Amount::MAX.plus(Amount::ONE)), Some("than anybody has")),
            (request("memory", half), Some("whole number")),
            (request("cpus", Amount::ONE), Some("of their own")),
            (request("my gpu", Amount::ONE), Some("cannot be the name")),
            (request("", Amount::ONE), Some("cannot be the name")),
            (request(&"x".repeat(65), Amount::ONE), Some("cannot be the name")),
            (Request { cpus: 0, amounts: [].into() }, Some("0 cpus")),
        ] {
            let found = check_alternatives(std::slice::from_ref(&asked)).err().map(|error| error.to_string());
            match expected {
                None => assert_eq!(found, None),
                Some(part) => assert!(found.as_ref().is_some_and(|found| found.contains(part)), "{found:?}"),
            }
        }
        assert!(check_alternatives(&vec![request("a", half); ALTERNATIVES_MAX + 1]).is_err());
        let indexed = |labels: &[&str]| Supply::Indexed(labels.iter().map(|label| (*label).to_owned()).collect());
        for (name, supply, is_good) in [
            ("gpus", indexed(&["0", "GPU-1a/b:c"]), true),
            ("gpus", indexed(&[]), false),
            ("gpus", indexed(&["0", "0"]), false),
            ("gpus", indexed(&["0,1"]), false),
            ("memory", indexed(&["0"]), false),
            ("cpus", Supply::Amount(Amount::ONE), false),
            ("licence", Supply::Amount(Amount::whole(3)), true),
            ("licence", Supply::Amount(Amount::ZERO), false),
        ] {
            let found = check_supplies(&[(name.to_owned(), supply.clone())].into());
            assert_eq!(found.is_ok(), is_good, "{name} {supply:?}: {found:?}");
        }
    }
}
