//! The repositories that the inputs of `seal` and `create` name between them: by `image`, and by full references.

use std::collections::BTreeMap;

use super::fields::Fields;
use super::grammar::{self, Separator};
use crate::domain::{ImageReference, Reference, Repository, Tag};

/// Each repository with the input that named it first.
pub(super) struct Repositories(BTreeMap<Repository, &'static str>);

impl Repositories {
    /// What `image` names, which must be a repository alone.
    pub(super) fn of_image(fields: &mut Fields<'_>) -> Self {
        let mut repositories = Self(BTreeMap::new());
        if let Some(image) = fields.image() {
            if image.reference.is_some() {
                fields.refuse(
                    "image",
                    format!("`{image}` names a tag or digest; here it is the repository alone"),
                );
            }
            repositories.add("image", image.repository);
        }
        repositories
    }

    /// Adds a repository that `input` names.
    pub(super) fn add(&mut self, input: &'static str, repository: Repository) {
        self.0.entry(repository).or_insert(input);
    }

    /// Reads a list of tags, bare or as full references.
    pub(super) fn tags(&mut self, fields: &mut Fields<'_>, input: &'static str) -> Vec<Tag> {
        let mut tags = Vec::new();
        for entry in grammar::list(fields.text(input).unwrap_or_default(), Separator::Comma) {
            let tag = match entry.parse::<Tag>() {
                Ok(tag) => Some(tag),
                Err(error) if !entry.contains('/') => {
                    fields.refuse(input, error.to_string());
                    None
                }
                Err(_) => self.tag_of_reference(fields, input, entry),
            };
            tags.extend(tag.filter(|tag| !tags.contains(tag)));
        }
        tags
    }

    fn tag_of_reference(
        &mut self,
        fields: &mut Fields<'_>,
        input: &'static str,
        entry: &str,
    ) -> Option<Tag> {
        match entry.parse::<ImageReference>() {
            Ok(ImageReference {
                repository,
                reference: Some(Reference::Tag(tag)),
            }) => {
                self.add(input, repository);
                return Some(tag);
            }
            Ok(_) => fields.refuse(input, format!("`{entry}` names no tag")),
            Err(error) => fields.refuse(input, error.to_string()),
        }
        None
    }

    /// The one repository of the run.
    pub(super) fn only(self, fields: &mut Fields<'_>) -> Option<Repository> {
        let mut named = self.0.into_iter();
        let Some((first, _)) = named.next() else {
            if fields.text("image").is_none() {
                fields.refuse(
                    "image",
                    "no repository is given; give `image`, or full references in `tags`",
                );
            }
            return None;
        };
        for (other, input) in named {
            fields.refuse(
                input,
                format!(
                    "`{other}` is another repository than `{first}`; a run serves one repository"
                ),
            );
        }
        Some(first)
    }
}
