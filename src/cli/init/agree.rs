//! Answers that contradict each other, or what there is: told before anything is written.

use super::offer::Offer;
use crate::error::{Error, ExitCode, Result};
use crate::facts::{self, Deadline, InstanceType};
use crate::provider::read_public_key;
use crate::spec::{Sketch, nearest};

/// Fails with the first contradiction.
pub(super) fn check(sketch: &Sketch, offer: &Offer) -> Result<()> {
    let Some(cloud) = &offer.cloud else { return Ok(()) };
    let types = sketch.types.iter().map(|name| known_type(cloud, name)).collect::<Result<Vec<_>>>()?;
    for code in &sketch.locations {
        known_location(cloud, code)?;
    }
    in_some_place(sketch, offer)?;
    image(sketch, cloud, &types)?;
    limits(sketch, cloud, &types)
}

/// Fails where a key's file isn't one; one that is to be made isn't there yet.
pub(super) fn key(sketch: &Sketch, offer: &Offer) -> Result<()> {
    let named = &sketch.ssh_key;
    let path = match named.strip_prefix("~/") {
        Some(below) => offer.home.join(below),
        None => offer.directory.join(named),
    };
    read_public_key(&path, named).map(drop).map_err(|error| {
        let hint = error.hint.clone().unwrap_or_default();
        error.hint(format!("{hint}; `--new-key` has init make one"))
    })
}

fn wrong(what: String) -> Error {
    Error::of(ExitCode::Usage, what)
}

fn known_type<'a>(cloud: &'a facts::Cloud, name: &str) -> Result<&'a InstanceType> {
    cloud.types.iter().find(|offered| offered.name == name).ok_or_else(|| {
        let names = || cloud.types.iter().map(|offered| offered.name.as_str());
        let error = wrong(format!("the cloud has no instance type `{name}`"));
        match nearest(name, names()) {
            Some(meant) => error.hint(format!("did you mean `{meant}`?")),
            None => error.hint(format!("it has {}", names().collect::<Vec<_>>().join(", "))),
        }
    })
}

fn known_location(cloud: &facts::Cloud, code: &str) -> Result<()> {
    if cloud.locations.iter().any(|known| known == code) {
        return Ok(());
    }
    Err(wrong(format!("the cloud has no location `{code}`"))
        .hint(format!("it has {}", cloud.locations.join(", "))))
}

/// The cloud doesn't tell what is never sold somewhere from what is out of stock there.
fn in_some_place(sketch: &Sketch, offer: &Offer) -> Result<()> {
    let Sketch { types, locations, .. } = sketch;
    let places: Vec<&str> = types.iter().flat_map(|name| offer.in_stock(name)).collect();
    if locations.is_empty()
        || places.is_empty()
        || locations.iter().any(|code| places.contains(&code.as_str()))
    {
        return Ok(());
    }
    Err(wrong(format!("no {} is to be had in {} now", types.join(" or "), locations.join(" or ")))
        .why(format!("the cloud has it in {}", places.join(", ")))
        .hint("choose one of these, or name no location; `--offline` writes it all the same"))
}

fn image(sketch: &Sketch, cloud: &facts::Cloud, types: &[&InstanceType]) -> Result<()> {
    let slug = &sketch.image;
    let slugs = || cloud.images.iter().map(|image| image.slug.as_str());
    if !cloud.images.iter().any(|image| image.slug == *slug || image.id == *slug) {
        let error = wrong(format!("the cloud has no image `{slug}`"));
        return Err(match nearest(slug, slugs()) {
            Some(meant) => error.hint(format!("did you mean `{meant}`?")),
            None => error.hint(format!("it has {}", slugs().collect::<Vec<_>>().join(", "))),
        });
    }
    let boots = |offered: &&&InstanceType| offered.images.is_empty() || offered.images.contains(slug);
    match types.iter().find(|offered| slugs().any(|known| known == slug) && !boots(offered)) {
        None => Ok(()),
        Some(offered) => Err(wrong(format!("`{}` can't boot `{slug}`", offered.name))
            .hint(format!("it boots {}", offered.images.join(", ")))),
    }
}

/// Limits under which the first order would be refused.
fn limits(sketch: &Sketch, cloud: &facts::Cloud, types: &[&InstanceType]) -> Result<()> {
    let Some(cheapest) = types.iter().map(|offered| offered.price_per_hour).min() else { return Ok(()) };
    let currency = &cloud.currency;
    if let Some(most) = sketch.max_price_per_hour.filter(|most| cheapest.units() > *most) {
        return Err(wrong(format!("no machine is that cheap: {most} {currency}/h"))
            .why(format!("the cheapest of those that were named costs {cheapest} {currency}/h"))
            .hint("raise `--max-price`, or choose another `--type`"));
    }
    let deadline = sketch.deadline.parse::<Deadline>().unwrap_or_default();
    let cost = cheapest.for_seconds(deadline.seconds());
    match sketch.max_cost.filter(|most| cost.units() > *most) {
        None => Ok(()),
        Some(most) => Err(wrong(format!("{deadline} cost more than {most} {currency}"))
            .why(format!(
                "at {cheapest} {currency}/h it is {cost} {currency}, so no machine would be ordered"
            ))
            .hint("raise `--max-cost`, shorten `--deadline`, or choose another `--type`")),
    }
}
