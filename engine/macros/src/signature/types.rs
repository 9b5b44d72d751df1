//! Types as they are written, as far as they show what they are.

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit_mut::VisitMut;
use syn::{GenericArgument, PathArguments, Type};

/// A type without the parentheses and invisible groups around it.
pub(crate) fn plain(ty: &Type) -> &Type {
    match ty {
        Type::Paren(ty) => plain(&ty.elem),
        Type::Group(ty) => plain(&ty.elem),
        ty => ty,
    }
}

/// Whether the last segment of a path is this; what a trait calls so (`<M as Message>::Result`) is something else.
pub(crate) fn ends_in(ty: &Type, name: &str) -> bool {
    matches!(plain(ty), Type::Path(path)
        if path.qself.is_none() && path.path.segments.last().is_some_and(|last| last.ident == name))
}

/// The first type between the angle brackets of the last segment.
pub(crate) fn first_argument(ty: &Type) -> Option<Type> {
    let Type::Path(path) = plain(ty) else { return None };
    let PathArguments::AngleBracketed(arguments) = &path.path.segments.last()?.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(plain(ty).clone()),
        _ => None,
    })
}

pub(super) enum Unsendable {
    Reference,
    Impl,
    Dyn,
}

pub(super) fn unsendable(ty: &Type) -> Option<(Span, Unsendable)> {
    struct Find(Option<(Span, Unsendable)>);
    impl VisitMut for Find {
        fn visit_type_mut(&mut self, ty: &mut Type) {
            let kind = match ty {
                Type::Reference(_) | Type::Ptr(_) => Unsendable::Reference,
                Type::ImplTrait(_) => Unsendable::Impl,
                Type::TraitObject(_) => Unsendable::Dyn,
                // `fn(&T)` is refused by its missing serde, not by its reference.
                Type::BareFn(_) => return,
                _ => return syn::visit_mut::visit_type_mut(self, ty),
            };
            self.0.get_or_insert((ty.span(), kind));
        }

        fn visit_lifetime_mut(&mut self, lifetime: &mut syn::Lifetime) {
            if lifetime.ident != "static" {
                self.0.get_or_insert((lifetime.span(), Unsendable::Reference));
            }
        }
    }
    let mut find = Find(None);
    find.visit_type_mut(&mut ty.clone());
    find.0
}
