//! Prompts in which something is chosen: `{a|b}` and `__name__`.

use std::fs;

use crate::support::{House, said};

fn write(house: &House, name: &str, text: &str) {
    let path = house.path(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a writable folder");
    fs::write(path, text).expect("a writable folder");
}

const ENDED: &str = "SELECT count(*) FROM renders WHERE state IN ('done', 'failed', 'cancelled')";

const PROMPTS: &str = "SELECT group_concat(prompt, '; ' ORDER BY id) FROM renders WHERE job_id = ";

#[test]
fn mistakes_in_prompts_with_choices_are_told_where_they_stand_all_of_them() {
    let house = House::new("");
    write(&house, "list.txt", "a fox\n# comment\na {red fox\na __nosuch__\n");
    let array = "wildcards = true\nprompt = ['a fox',\n  'a {b',\n  'a __nosuch__']\n";
    write(&house, "array.toml", array);
    write(&house, "file.toml", "prompt_file = 'list.txt'\nwildcards = true\n");
    let list = ["submit", "--prompts", "list.txt", "--wildcards"];
    for (command, told) in [
        (&["check", "array.toml"][..], ["array.toml:3:3: prompt: ", "array.toml:4:3: prompt: "]),
        (&["check", "file.toml"], ["prompt_file: list.txt:3: ", "prompt_file: list.txt:4: "]),
        (&list, ["list.txt:3: ", "list.txt:4: there is no wildcard __nosuch__"]),
    ] {
        let output = said(&house.zimaged(command));
        assert!(told.iter().all(|told| output.contains(told)), "{command:?}: {output}");
    }
}

#[test]
fn choices_follow_from_the_seed_and_rows_have_what_was_chosen_beside_what_was_asked() {
    let house = House::started("");
    write(&house, "wildcards/animal.txt", "\u{feff}# beasts\r\na {red|grey} fox\r\n__bird__\r\n");
    write(&house, "wildcards/bird.txt", "an owl\n");
    let job =
        "prompt = 'a {blue|green} sky, __animal__'\nwildcards = true\nseed = 1\nnum_images = 8\n";
    house.drop_job("a.toml", job);
    house.drop_job("b.toml", job);
    house.until_sql(ENDED, "16");
    let chosen = house.value(&format!("{PROMPTS}1"));
    assert_eq!(house.value(&format!("{PROMPTS}2")), chosen, "the same seeds");
    for part in ["a blue sky, ", "a green sky, ", "an owl", "a red fox", "a grey fox"] {
        assert!(chosen.contains(part), "{part}: {chosen}");
    }
    assert!(!chosen.contains(['{', '_', '|']), "{chosen}");
    let asked = "SELECT DISTINCT asked_prompt FROM history";
    assert_eq!(house.rows(asked), [["a {blue|green} sky, __animal__"]]);
    let shown = said(&house.zimaged(&["show", "1.1"]));
    assert!(shown.contains("asked as  a {blue|green} sky, __animal__"), "{shown}");
    let picture = house.value("SELECT path FROM history WHERE job = 1 AND picture = 1");
    let file = fs::read(house.path("outputs").join(picture)).expect("a picture");
    assert!(String::from_utf8_lossy(&file).contains("\"asked_prompt\":\"a {blue|green} sky"));
    house.falsify("UPDATE renders SET state = 'cancelled' WHERE id = 1");
    assert_eq!(house.json(&["retry", "1.1"])["renders"], 1);
    let again = house.value(&format!("{PROMPTS}3"));
    assert!(chosen.starts_with(&again), "a retry chooses nothing anew: {again}");
}

#[test]
fn braces_are_plain_text_unless_the_job_wants_choices() {
    let house = House::started("");
    write(&house, "a.toml", "prompt = 'a {blue|green} __sky__'\nseed = 1\n");
    let output = house.zimaged(&["submit", "--wait", "a.toml"]);
    assert!(said(&output).contains("{blue|green} chooses nothing here: say wildcards = true"));
    assert_eq!(house.value(&format!("{PROMPTS}1")), "a {blue|green} __sky__");
    let options = ["--prompt", "a {blue|blue} fox", "--wildcards", "true", "--seed", "1"];
    let output = house.zimaged(&[&["submit", "--wait"], &options[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(house.value(&format!("{PROMPTS}2")), "a blue fox");
}

#[test]
fn what_is_wrong_with_a_choice_is_told() {
    let house = House::new("[folders]\nwildcards = 'words'\n");
    write(&house, "words/animal.txt", "a fox\n");
    write(&house, "words/sea/fish.txt", "a cod\n");
    write(&house, "words/empty.txt", "\n");
    write(&house, "words/bad.txt", "a\n{b|c\n");
    write(&house, "words/self.txt", "a __self__\n");
    write(&house, "secret.txt", "a secret\n");
    for (prompt, message) in [
        ("__anmal__", "prompt: there is no wildcard __anmal__"),
        ("__anmal__", "did you mean `animal`?"),
        ("__fsh__", "known wildcards: animal, bad, empty, sea/fish, self"),
        ("{a|__sea/fsh__}", "did you mean `sea/fish`?"),
        ("__empty__", "prompt: __empty__: there is no prompt in it"),
        ("__bad__", "prompt: __bad__: line 2: a { is not closed"),
        ("__self__", "prompt: \"__self__\": it takes more than 1000 choices"),
        ("a {b|c", "prompt: \"a {b|c\": a { is not closed"),
        ("{2$$a|b}, {|}{|}{3$$a|b}", "3 cannot be chosen of 2"),
        ("{ | }", "nothing is left of it"),
    ] {
        write(&house, "a.toml", &format!("prompt = '{prompt}'\nwildcards = true\n"));
        let output = house.zimaged(&["check", "a.toml"]);
        assert_eq!(output.status.code(), Some(3), "{prompt}");
        assert!(said(&output).contains(message), "{prompt}: {}", said(&output));
    }
    for (prompt, right) in [("__sea/fish__", "a cod"), ("__../secret__", "__../secret__")] {
        write(&house, "a.toml", &format!("prompt = '{prompt}'\nwildcards = true\n"));
        assert_eq!(house.json(&["check", "a.toml"])["renders"][0]["prompt"], right);
    }
    write(&house, "a.toml", "prompt = 'a'\nwildcards = 'yes'\n");
    assert!(
        said(&house.zimaged(&["check", "a.toml"])).contains("wildcards: expected true or false")
    );
}

#[test]
fn each_line_of_a_list_and_each_picture_has_choices_of_its_own() {
    let house = House::started("");
    write(&house, "zoo.txt", "{a|b|c|d} fox\nan owl\n");
    write(&house, "a.toml", "prompt_file = 'zoo.txt'\nwildcards = true\nnum_images = 20\n");
    let output = house.zimaged(&["submit", "--wait", "a.toml"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let kinds = house.value("SELECT count(DISTINCT prompt) FROM renders WHERE prompt LIKE '% fox'");
    assert!(kinds.parse::<u32>().expect("a number") > 1, "{kinds}");
    let unasked = "SELECT count(*) FROM history WHERE asked_prompt IS NULL AND prompt = 'an owl'";
    assert_eq!(house.value(unasked), "20");
}
