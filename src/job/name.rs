//! Names of pictures: templates with tokens like `{job}`, confined to the output folder. Pure.
