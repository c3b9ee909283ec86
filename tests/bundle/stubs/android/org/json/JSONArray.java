package org.json;

import java.util.ArrayList;
import java.util.List;

public class JSONArray {
  final List<Object> values = new ArrayList<>();

  public int length() {
    return values.size();
  }

  public JSONObject getJSONObject(int index) {
    return (JSONObject) values.get(index);
  }

  public double getDouble(int index) {
    return Double.parseDouble((String) values.get(index));
  }

  public int getInt(int index) {
    return Integer.parseInt((String) values.get(index));
  }

  public long getLong(int index) {
    return Long.parseLong((String) values.get(index));
  }
}
