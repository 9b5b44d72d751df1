//! `#[main]` and `#[test]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, FnArg, ItemFn, Result, Type};

use crate::attr::{Kind, Options};
use crate::errors::Errors;
use crate::signature;

pub(crate) fn main(attr: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let item = function(item, "main")?;
    let mut errors = Errors::default();
    errors.keep(signature::check(&item.sig, "`main`"));
    if item.sig.ident != "main" {
        errors.add(Error::new_spanned(&item.sig.ident, "`#[actinic::main]` goes on `fn main`"));
    }
    if !item.sig.inputs.is_empty() {
        errors.add(Error::new_spanned(&item.sig.inputs, "`main` takes no parameters; see `std::env::args`"));
    }
    let options = errors.keep(Options::parse(Kind::Main, attr));
    let Some(options) = errors.finish(options)? else { unreachable!("without errors there are options") };
    let rt = &options.rt;
    let (attributes, vis, name, output) = (&item.attrs, &item.vis, &item.sig.ident, &item.sig.output);
    let inner = inner(&item);
    let run =
        if item.sig.asyncness.is_some() { quote!(#rt::block_on_main(#name())) } else { quote!(#rt::main_sync(#name)) };
    Ok(quote! {
        #(#attributes)*
        #vis fn #name() #output {
            #inner
            #run
        }
    })
}

pub(crate) fn test(attr: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let item = function(item, "test")?;
    let mut errors = Errors::default();
    errors.keep(signature::check(&item.sig, "test"));
    if let Some(attribute) = item.attrs.iter().find(|attribute| attribute.path().is_ident("test")) {
        errors.add(Error::new_spanned(attribute, "`#[actinic::test]` makes it a test already: remove this"));
    }
    let cluster = match (item.sig.inputs.first(), item.sig.inputs.len()) {
        (None, _) => None,
        (Some(FnArg::Typed(cluster)), 1) => Some(cluster),
        _ => {
            errors.add(Error::new_spanned(
                &item.sig.inputs,
                "a test takes one parameter, `cluster: TestCluster`, or none",
            ));
            None
        }
    };
    let options = errors.keep(Options::parse(Kind::Test, attr));
    let Some(options) = errors.finish(options)? else { unreachable!("without errors there are options") };
    let (rt, setters) = (&options.rt, &options.setters);
    let (attributes, vis, name, output) = (&item.attrs, &item.vis, &item.sig.ident, &item.sig.output);
    let inner = inner(&item);
    let is_async = item.sig.asyncness.is_some();
    let body = match cluster.map(|cluster| signature::plain(&cluster.ty)) {
        // The cluster lives as long as the test.
        None if is_async => quote!(|__cluster: #rt::TestCluster| async move {
            let __done = #name().await;
            ::core::mem::drop(__cluster);
            __done
        }),
        None => quote!(|__cluster: #rt::TestCluster| {
            let __done = #name();
            ::core::mem::drop(__cluster);
            __done
        }),
        Some(Type::Reference(reference)) => {
            let mutability = reference.mutability;
            if is_async {
                quote!(|#mutability __cluster: #rt::TestCluster| async move { #name(&#mutability __cluster).await })
            } else {
                quote!(|#mutability __cluster: #rt::TestCluster| #name(&#mutability __cluster))
            }
        }
        Some(_) => quote!(|__cluster: #rt::TestCluster| #name(__cluster)),
    };
    let run = if is_async { quote!(run_test) } else { quote!(run_test_sync) };
    Ok(quote! {
        #[::core::prelude::v1::test]
        #(#attributes)*
        #vis fn #name() #output {
            #inner
            #rt::#run(#rt::TestOptions::new(::core::file!(), ::core::line!())#setters, #body)
        }
    })
}

fn function(item: TokenStream, attribute: &str) -> Result<ItemFn> {
    syn::parse2(item).map_err(|error| Error::new(error.span(), format!("`#[actinic::{attribute}]` goes on a function")))
}

/// The function as it was written, without its attributes, to be called by the one that takes its name.
fn inner(item: &ItemFn) -> TokenStream {
    let (signature, block) = (&item.sig, &item.block);
    quote!(#signature #block)
}
