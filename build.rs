//! Sees to it that there is a web client to embed.

use std::path::Path;

fn main() {
    let page = "web-client/app/dist/index.html";
    println!("cargo::rerun-if-changed=web-client/app/dist");
    if !Path::new(page).exists() {
        println!("cargo::error=the web client is not built ({page} is missing); run: make client");
    }
}
