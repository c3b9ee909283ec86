package org.json;

import java.util.HashMap;
import java.util.Map;

/** As much JSON as golden cases are written in: numbers are kept as their text, strings have no escapes. */
public class JSONObject {
  private final Map<String, Object> values = new HashMap<>();

  private JSONObject() {}

  public JSONObject(String json) {
    values.putAll(((JSONObject) new Reader(json).value()).values);
  }

  public Object get(String name) {
    if (!values.containsKey(name)) throw new JSONException("No value for " + name);
    return values.get(name);
  }

  public JSONObject getJSONObject(String name) {
    return (JSONObject) get(name);
  }

  public JSONArray getJSONArray(String name) {
    return (JSONArray) get(name);
  }

  public String getString(String name) {
    return (String) get(name);
  }

  public boolean getBoolean(String name) {
    return Boolean.parseBoolean((String) get(name));
  }

  public int getInt(String name) {
    return Integer.parseInt((String) get(name));
  }

  public double getDouble(String name) {
    return Double.parseDouble((String) get(name));
  }

  private static final class Reader {
    private final String text;
    private int place = 0;

    Reader(String text) {
      this.text = text;
    }

    char next() {
      while (Character.isWhitespace(text.charAt(place))) place++;
      return text.charAt(place);
    }

    boolean skip(char mark) {
      boolean there = next() == mark;
      if (there) place++;
      return there;
    }

    Object value() {
      if (skip('{')) {
        JSONObject object = new JSONObject();
        while (!skip('}')) {
          String name = (String) value();
          if (!skip(':')) throw new JSONException("no : at " + place);
          object.values.put(name, value());
          skip(',');
        }
        return object;
      }
      if (skip('[')) {
        JSONArray array = new JSONArray();
        while (!skip(']')) {
          array.values.add(value());
          skip(',');
        }
        return array;
      }
      int start = place;
      if (skip('"')) {
        place = text.indexOf('"', place) + 1;
        return text.substring(start + 1, place - 1);
      }
      while (",]} \n".indexOf(text.charAt(place)) < 0) place++;
      return text.substring(start, place);
    }
  }
}
