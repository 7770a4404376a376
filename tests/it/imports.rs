//! The items that each file of the crate uses, and the files that define them. An item that a `mod.rs` re-exports counts for
//! the file that defines it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use syn::visit::Visit;
use syn::{Attribute, Item, UseTree};

use crate::support::project::files_of;

/// The path of a module below the crate, as `["registry", "auth"]`.
pub(crate) type Module = Vec<String>;

/// A path of names, one for each segment.
type Names = Vec<String>;

/// The modules of the crate, without its tests.
pub(crate) struct Crate {
    files: BTreeMap<Module, File>,
}

#[derive(Default)]
struct File {
    /// Names that `use` brings into the module, with the absolute path of each.
    imports: BTreeMap<String, Names>,
    /// Modules of which `use` takes all.
    globs: BTreeSet<Names>,
    /// Every absolute path that the code names.
    paths: BTreeSet<Names>,
    /// The names of the types with methods here, without those of traits.
    methods_of: BTreeSet<String>,
}

impl Crate {
    /// Reads `src`.
    pub(crate) fn read() -> Self {
        let root = Path::new("src");
        let mut files: BTreeMap<Module, (String, File)> = files_of(root)
            .into_iter()
            .map(|file| {
                let module = module_of(file.strip_prefix(root).unwrap());
                (module, (fs::read_to_string(file).unwrap(), File::default()))
            })
            .collect();
        files.retain(|module, _| {
            !module
                .iter()
                .any(|part| part == "tests" || part == "properties")
        });
        let known: BTreeSet<Module> = files.keys().cloned().collect();
        let files = files.into_iter().map(|(module, (text, mut file))| {
            let syntax = syn::parse_file(&text).unwrap();
            let mut scan = Scan {
                module: &module,
                known: &known,
                file: &mut file,
            };
            scan.visit_file(&syntax);
            (module, file)
        });
        Self {
            files: files.collect(),
        }
    }

    /// Every module.
    pub(crate) fn modules(&self) -> impl Iterator<Item = &Module> {
        self.files.keys()
    }

    /// The other modules that define what `module` uses.
    pub(crate) fn uses(&self, module: &Module) -> BTreeSet<Module> {
        let paths = self.files[module].paths.iter();
        let mut uses: BTreeSet<Module> = paths.filter_map(|path| self.home(path, 0)).collect();
        uses.remove(module);
        uses
    }

    /// All modules that `module` uses, through any number of others.
    pub(crate) fn reach(&self, module: &Module) -> BTreeSet<Module> {
        let mut reached = BTreeSet::new();
        let mut open = vec![module.clone()];
        while let Some(next) = open.pop() {
            for used in self.uses(&next) {
                if reached.insert(used.clone()) {
                    open.push(used);
                }
            }
        }
        reached
    }

    /// Like [`Self::reach`]; with a type of `room`, this also reaches the other files that hold its methods. No `use`
    /// names these.
    pub(crate) fn reach_with_methods(&self, module: &Module, room: &str) -> BTreeSet<Module> {
        let mut reached = self.reach(module);
        loop {
            let holds_methods = |module: &&Module| {
                let mut types = self.types_with_methods(module);
                types.any(|home| {
                    home.first().is_some_and(|of| of == room) && reached.contains(&home)
                })
            };
            let more: BTreeSet<Module> = self
                .modules()
                .filter(|module| !reached.contains(*module))
                .filter(holds_methods)
                .flat_map(|module| self.reach(module).into_iter().chain([module.clone()]))
                .collect();
            if more.is_empty() {
                return reached;
            }
            reached.extend(more);
        }
    }

    /// The modules that define the types with methods in `module`.
    fn types_with_methods(&self, module: &Module) -> impl Iterator<Item = Module> {
        let names = self.files[module].methods_of.iter();
        names.filter_map(move |name| {
            let path: Names = module.iter().chain([name]).cloned().collect();
            self.home(&path, 0).filter(|home| home != module)
        })
    }

    /// The groups of modules that use one another in a circle.
    pub(crate) fn circles(&self) -> Vec<BTreeSet<Module>> {
        let reach: BTreeMap<&Module, BTreeSet<Module>> = self
            .modules()
            .map(|module| (module, self.reach(module)))
            .collect();
        let mut circles: Vec<BTreeSet<Module>> = Vec::new();
        for (module, reached) in &reach {
            if !reached.contains(*module) || circles.iter().any(|known| known.contains(*module)) {
                continue;
            }
            let back = |other: &&Module| reach[*other].contains(*module);
            circles.push(reached.iter().filter(back).cloned().collect());
        }
        circles
    }

    /// The module that defines the item at `path`; none where the path leads out of the crate.
    fn home(&self, path: &[String], depth: usize) -> Option<Module> {
        let length = (0..=path.len())
            .rev()
            .find(|length| self.files.contains_key(&path[..*length]))?;
        let (module, item) = path.split_at(length);
        let file = &self.files[module];
        let Some(name) = item.first() else {
            return Some(module.to_vec());
        };
        assert!(depth < 16, "{path:?} is re-exported in a circle");
        if let Some(target) = file.imports.get(name) {
            return self.home(target, depth + 1);
        }
        let mut globs = file.globs.iter();
        let from_glob = globs.find_map(|glob| {
            let target: Names = glob.iter().chain([name]).cloned().collect();
            self.defines(glob, name)
                .then(|| self.home(&target, depth + 1))?
        });
        from_glob.or_else(|| Some(module.to_vec()))
    }

    fn defines(&self, module: &[String], name: &str) -> bool {
        self.files
            .get(module)
            .is_some_and(|file| file.imports.contains_key(name))
    }
}

struct Scan<'a> {
    module: &'a Module,
    known: &'a BTreeSet<Module>,
    file: &'a mut File,
}

impl Scan<'_> {
    /// The path from the root of the crate; none where it begins with a name that is no module here.
    fn absolute(&self, path: &[String]) -> Option<Names> {
        let mut base: Names = self.module.clone();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" => {
                base.clear();
                rest = &path[1..];
            }
            "self" => rest = &path[1..],
            "super" => {
                while rest.first().is_some_and(|part| part == "super") {
                    base.pop();
                    rest = &rest[1..];
                }
            }
            child => {
                let module: Module = base.iter().cloned().chain([child.to_owned()]).collect();
                if !self.known.contains(&module) {
                    return None;
                }
            }
        }
        base.extend(rest.iter().cloned());
        Some(base)
    }

    fn import(&mut self, tree: &UseTree, prefix: &mut Names, is_exported: bool) {
        match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.import(&path.tree, prefix, is_exported);
                prefix.pop();
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(tree, prefix, is_exported);
                }
            }
            UseTree::Name(name) => self.name(prefix, &name.ident.to_string(), None, is_exported),
            UseTree::Rename(rename) => {
                let new = rename.rename.to_string();
                self.name(prefix, &rename.ident.to_string(), Some(new), is_exported);
            }
            UseTree::Glob(_) => {
                if let Some(path) = self.absolute(prefix) {
                    self.file.globs.insert(path);
                }
            }
        }
    }

    fn name(&mut self, prefix: &Names, name: &str, new: Option<String>, is_exported: bool) {
        let mut path = prefix.clone();
        let mut local = name.to_owned();
        if name == "self" {
            local = prefix.last().cloned().unwrap_or_default();
        } else {
            path.push(name.to_owned());
        }
        let Some(path) = self.absolute(&path) else {
            return;
        };
        // What a module only hands on, it does not use.
        if !is_exported {
            self.file.paths.insert(path.clone());
        }
        self.file.imports.insert(new.unwrap_or(local), path);
    }
}

impl<'ast> Visit<'ast> for Scan<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes: &[Attribute] = if let Item::Mod(item) = item {
            &item.attrs
        } else if let Item::Use(item) = item {
            &item.attrs
        } else if let Item::Fn(item) = item {
            &item.attrs
        } else if let Item::Impl(item) = item {
            &item.attrs
        } else {
            &[]
        };
        if !attributes.iter().any(is_for_tests) {
            if let Item::Impl(item) = item
                && item.trait_.is_none()
                && let syn::Type::Path(of) = &*item.self_ty
                && let [name] = &of.path.segments.iter().collect::<Vec<_>>()[..]
            {
                self.file.methods_of.insert(name.ident.to_string());
            }
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !function.attrs.iter().any(is_for_tests) {
            syn::visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let is_exported = !matches!(item.vis, syn::Visibility::Inherited);
        self.import(&item.tree, &mut Vec::new(), is_exported);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Names = path
            .segments
            .iter()
            .map(|part| part.ident.to_string())
            .collect();
        if names.len() > 1
            && let Some(path) = self.absolute(&names)
        {
            self.file.paths.insert(path);
        }
        syn::visit::visit_path(self, path);
    }
}

fn is_for_tests(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute
            .parse_args::<syn::Path>()
            .is_ok_and(|condition| condition.is_ident("test"))
}

fn module_of(file: &Path) -> Module {
    let parts = file.with_extension("");
    let mut parts: Module = parts
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if parts
        .last()
        .is_some_and(|last| last == "mod" || last == "lib")
    {
        parts.pop();
    }
    parts
}

#[test]
fn files_import_one_another_in_one_direction() {
    let circles = Crate::read().circles();
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn import_counts_for_the_file_that_defines_the_item() {
    let all = Crate::read();
    let module =
        |names: &[&str]| -> Module { names.iter().map(|name| (*name).to_owned()).collect() };
    let uses = all.uses(&module(&["plan", "tags"]));
    // `crate::domain::Digest` is re-exported by `domain/mod.rs`.
    assert!(uses.contains(&module(&["domain", "digest"])), "{uses:?}");
    assert!(!uses.contains(&module(&["domain"])), "{uses:?}");
    // `super::vouched::Vouched`.
    assert!(uses.contains(&module(&["plan", "vouched"])), "{uses:?}");
    assert!(
        all.reach(&module(&["plan", "tags"]))
            .contains(&module(&["domain", "reference"]))
    );
}

/// The files and folders that change something at a registry or in the record.
const WRITERS: [(&str, &str); 31] = [
    ("registry", "client"),
    ("registry", "copy"),
    ("registry", "deletion"),
    ("registry", "interrupted_upload"),
    ("registry", "large_uploads"),
    ("registry", "manifest_writes"),
    ("registry", "many_tags"),
    ("registry", "tag_writes"),
    ("registry", "open_uploads"),
    ("registry", "chunks"),
    ("registry", "streamed_upload"),
    ("registry", "upload_session"),
    ("registry", "uploads"),
    ("registry", "verifying_stream"),
    ("context", "record_writer"),
    ("copy", "copier"),
    ("copy", "referrer_copier"),
    ("referrers", "edits"),
    ("referrers", "index"),
    ("referrers", "push"),
    ("referrers", "settle"),
    ("signatures", "attach"),
    ("signatures", "legacy_attach"),
    ("signatures", "legacy_manifest"),
    ("signatures", "signer"),
    ("signatures", "signing_context"),
    ("signatures", "step"),
    ("commands", "cleanup"),
    ("commands", "seal"),
    ("commands", "sign"),
    ("commands", "tags"),
];

#[test]
fn verify_reaches_nothing_that_writes() {
    let all = Crate::read();
    let module = |room: &str, file: &str| -> Module { vec![room.to_owned(), file.to_owned()] };
    for (room, file) in WRITERS {
        assert!(all.files.contains_key(&module(room, file)), "{room}/{file}");
    }
    let reached = |command: &str| {
        let mut files = all.reach_with_methods(&module("commands", command), "registry");
        files.extend(all.reach_with_methods(&module("commands", command), "signatures"));
        let writers = WRITERS.iter().filter(|(room, file)| {
            let writer = module(room, file);
            files.iter().any(|reached| reached.starts_with(&writer))
        });
        writers.collect::<Vec<_>>()
    };
    assert_eq!(reached("verify"), [&("", ""); 0]);
    // `Context` holds the writing client.
    let context: Module = vec!["context".to_owned()];
    assert!(!all.reach(&module("commands", "verify")).contains(&context));
    // The walk finds what is there.
    assert!(reached("seal").contains(&&("referrers", "settle")));
    assert!(reached("seal").contains(&&("registry", "uploads")));
    assert!(reached("publish").contains(&&("copy", "referrer_copier")));
    assert!(reached("publish").contains(&&("registry", "copy")));
    assert!(reached("cleanup").contains(&&("registry", "deletion")));
}

/// Names of the room `registry` that tell the referrers API from the referrers tag.
const REFERRER_LISTS: [&str; 7] = [
    "Referrers::Listed",
    "NoApi",
    "Tagged::",
    "TaggedList",
    "tagged_list",
    "referrer_pages",
    ".referrers(repository",
];

#[test]
fn only_the_room_referrers_sees_which_list_a_registry_keeps() {
    let mut leaks = Vec::new();
    for file in files_of(Path::new("src")) {
        let own = ["src/registry", "src/referrers"];
        if own.iter().any(|room| file.starts_with(room)) || file.iter().any(|part| part == "tests")
        {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let names = REFERRER_LISTS.iter().filter(|name| text.contains(**name));
        leaks.extend(names.map(|name| format!("{} names `{name}`", file.display())));
    }
    assert_eq!(leaks, [""; 0]);
}

/// The most files that one type's methods may be spread over.
const IMPL_FILES_MAX: usize = 4;

#[test]
fn methods_of_the_registry_clients_stand_in_few_files() {
    for client in ["Registry", "RegistryReader", "RequestSender", "Uploader"] {
        let is_client = |line: &str| {
            let line = line.strip_prefix("impl").unwrap_or_default();
            let line = line.strip_prefix("<'a>").unwrap_or(line);
            let name = line.trim_start().strip_prefix(client).unwrap_or_default();
            name.starts_with([' ', '<'])
        };
        let files = files_of(Path::new("src")).into_iter();
        let files = files.filter(|file| fs::read_to_string(file).unwrap().lines().any(is_client));
        let files: Vec<_> = files.collect();
        assert!(
            (1..=IMPL_FILES_MAX).contains(&files.len()),
            "{client}: {files:?}"
        );
    }
}
