//! The repositories that the inputs of a run name: in `image`, in full references in the lists of tags, and in the digests.

use super::fields::Fields;
use super::grammar::{self, Separator};
use crate::domain::{FullTag, ImageReference, Repository, Tag};

/// Every named repository, once, in the order of the inputs: `image` is the first.
pub(super) struct Repositories {
    image: Option<Repository>,
    named: Vec<Repository>,
}

/// An entry of a list of tags.
pub(super) enum RepositoryEntry {
    /// A tag without a repository.
    Bare(Tag),
    /// A full reference, as docker/metadata-action prints it.
    Full(FullTag),
}

impl Repositories {
    /// Reads `image`, which must be a repository without a tag or digest.
    pub(super) fn of_image(fields: &mut Fields<'_>) -> Self {
        let image = fields.image().map(|image| {
            if image.reference.is_some() {
                fields.refuse(
                    "image",
                    format!("`{image}` names a tag or digest; give the repository alone"),
                );
            }
            image.repository
        });
        Self {
            named: image.iter().cloned().collect(),
            image,
        }
    }

    /// Adds a repository that an input names.
    pub(super) fn add(&mut self, repository: &Repository) {
        if !self.named.contains(repository) {
            self.named.push(repository.clone());
        }
    }

    /// Reads a list of bare tags and full references.
    pub(super) fn entries(
        &mut self,
        fields: &mut Fields<'_>,
        input: &'static str,
    ) -> Vec<RepositoryEntry> {
        let list = grammar::list(fields.text(input).unwrap_or_default(), Separator::Comma);
        let mut entries = Vec::new();
        for text in list {
            match entry(text) {
                Ok(entry) => {
                    if let RepositoryEntry::Full(full) = &entry {
                        self.add(&full.repository);
                    }
                    entries.push(entry);
                }
                Err(problem) => fields.refuse(input, problem),
            }
        }
        entries
    }

    /// Adds the repository to each tag of a list, once every repository is known. Returns each tag once.
    pub(super) fn placed(
        &self,
        fields: &mut Fields<'_>,
        input: &'static str,
        entries: Vec<RepositoryEntry>,
    ) -> Vec<FullTag> {
        let mut tags = Vec::new();
        for entry in entries {
            let full = match entry {
                RepositoryEntry::Full(full) => full,
                RepositoryEntry::Bare(tag) => match (&self.image, self.named.as_slice()) {
                    (Some(repository), _) | (None, [repository]) => FullTag {
                        repository: repository.clone(),
                        tag,
                    },
                    (None, []) => continue,
                    (None, several) => {
                        fields.refuse(input, several_text(&tag, several));
                        continue;
                    }
                },
            };
            if !tags.contains(&full) {
                tags.push(full);
            }
        }
        tags
    }

    /// Returns the repository of bare digests: `image`, or the first named repository.
    pub(super) fn home(&self, fields: &mut Fields<'_>) -> Option<Repository> {
        let home = self.named.first().cloned();
        if home.is_none() && fields.text("image").is_none() {
            fields.refuse(
                "image",
                "no repository is given; give `image`, or full references in `tags`",
            );
        }
        home
    }

    /// Returns all of them.
    pub(super) fn into_all(self) -> Vec<Repository> {
        self.named
    }
}

fn entry(text: &str) -> Result<RepositoryEntry, String> {
    match text.parse::<Tag>() {
        Ok(tag) => Ok(RepositoryEntry::Bare(tag)),
        Err(error) if !text.contains('/') => Err(error.to_string()),
        Err(_) => match text.parse::<ImageReference>() {
            Ok(image) => FullTag::try_from(image)
                .map(RepositoryEntry::Full)
                .map_err(|image| format!("`{image}` names no tag")),
            Err(error) => Err(error.to_string()),
        },
    }
}

fn several_text(tag: &Tag, several: &[Repository]) -> String {
    let names: Vec<String> = several.iter().map(|name| format!("`{name}`")).collect();
    format!(
        "`{tag}` names no repository, and {} are possible; give `image`, or the full reference of the tag",
        names.join(", ")
    )
}
